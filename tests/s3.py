"""A real S3 protocol server on loopback, and a study's environment that leads to it."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import boto3

BUCKET = "studies"
KEYS = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "s3cr3t-of-somebody"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_it_answers(port: int) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise TimeoutError(f"nothing answers at port {port}")


@contextlib.contextmanager
def server(with_users: bool = False) -> Iterator[dict[str, str]]:
    """Moto's server with an empty bucket; the variables by which clients find it.

    ``with_users``: only these keys are let in; else all are.
    """
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    variables = {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    variables |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
    # Nobody is asked for keys before there are any: as long as these three requests are made.
    unasked = {"INITIAL_NO_AUTH_ACTION_COUNT": "3"} if with_users else {}
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **unasked},
    ) as process:
        try:
            wait_until_it_answers(port)
            if with_users:
                variables |= _keys_of_a_user(variables)
            _client("s3", variables).create_bucket(Bucket=BUCKET)
            yield variables
        finally:
            process.kill()


def _keys_of_a_user(variables: Mapping[str, str]) -> dict[str, str]:
    iam = _client("iam", variables)
    iam.create_user(UserName="student")
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [everything]})
    iam.put_user_policy(UserName="student", PolicyName="all", PolicyDocument=policy)
    key = iam.create_access_key(UserName="student")["AccessKey"]
    names = {"AWS_ACCESS_KEY_ID": "AccessKeyId", "AWS_SECRET_ACCESS_KEY": "SecretAccessKey"}
    return {variable: str(key[name]) for variable, name in names.items()}


def _client(service: str, variables: Mapping[str, str]) -> Any:
    return boto3.client(
        service,
        endpoint_url=variables["AWS_ENDPOINT_URL"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        region_name=variables["AWS_DEFAULT_REGION"],
    )
