"""The tasks that can be chosen by name. A new one is one module and one line here."""

TASKS = {
    "mnist": "study.tasks.mnist:make_task",
    "fashion_mnist": "study.tasks.fashion_mnist:make_task",
    "cifar10": "study.tasks.cifar10:make_task",
    "digits": "study.tasks.digits:make_task",
}
