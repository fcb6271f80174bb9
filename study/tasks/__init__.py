"""The tasks that can be chosen by name. A new one is one module and one line here."""

TASKS = {
    "mnist": "study.tasks.builtin.mnist:make_task",
    "fashion_mnist": "study.tasks.builtin.fashion_mnist:make_task",
    "cifar10": "study.tasks.builtin.cifar10:make_task",
    "digits": "study.tasks.builtin.digits:make_task",
}
