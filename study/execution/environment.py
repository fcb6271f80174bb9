"""The environment that Ray and its workers are given."""

# Ray reads most of these when it is imported, and its workers inherit them all. A user's own
# setting goes first.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # its change of default, announced at every start
    # A trial killed by the memory monitor ends the whole study, whatever max_failures says.
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # Under `uv run` it packs the folder and starts the workers by that command again, in another
    # environment, which is empty or another one than this process has.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # A Ray of our own listens on 127.0.0.1, as on macOS and Windows: the machine's address may
    # change while it runs, and nobody else is to reach it. One that is joined keeps its addresses.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # What it asks then is shown nowhere, and where Ray's head has died, it would wait for ever.
    "TUNE_STATE_REFRESH_PERIOD": "1000000000",
    # CSV, JSON and TensorBoard files of every trial: the tables hold it all.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Its old output is silent when told to be; the new one prints boxes all the same.
    "RAY_AIR_NEW_OUTPUT": "0",
    # Ctrl-C is ours to answer.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Ray's own snapshots of the experiment: the Optuna study is the truth, and they are never read.
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    # glibc otherwise maps and unmaps every large activation: 5-15% of a training step.
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}
# Of these, what the workers of a cluster need that somebody else has started.
OF_WORKERS = ("RAY_CHDIR_TO_TRIAL_DIR", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
