#!/usr/bin/python3 -SE
# SPDX-License-Identifier: Apache-2.0
"""A CNI plugin that comes last in a chain: it writes down each call, and hands on what those before it have said. How else it behaves is in a file that tests write
(tests/kubelet.py): {"ADD": "fail", ...}."""
import json
import os
import sys
import time

VERSIONS = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]
LIES = {"an address that is none": lambda r: r.update(ips=[{"address": "999.1.2.3/24"}]), "an address that is a path": lambda r: r.update(ips=[{"address": "../../etc/passwd"}]),
        "another version": lambda r: r.update(cniVersion="99.0.0"), "an index of no interface": lambda r: r.update(ips=[{"address": "10.1.2.3/24", "interface": 99}]),
        "addresses without end": lambda r: r.update(ips=[{"address": f"10.{i >> 8 & 255}.{i & 255}.1/24", "interface": 0} for i in range(50000)]),
        "a name with a line break": lambda r: r.update(interfaces=[{"name": "eth0\nnameserver 192.0.2.66", "sandbox": "/x"}]),
        "a list for a result": None, "depth": None}


def fail(text):
    print(json.dumps({"cniVersion": "1.0.0", "code": 100, "msg": text}))
    sys.exit(1)


def main():
    command = os.environ["CNI_COMMAND"]
    if command == "VERSION":
        print(json.dumps({"cniVersion": "1.0.0", "supportedVersions": VERSIONS}))
        return
    conf = json.load(sys.stdin)
    told = {k: os.environ.get(f"CNI_{k}", "") for k in ("COMMAND", "CONTAINERID", "NETNS", "IFNAME", "ARGS", "PATH")}
    told["time"] = time.monotonic()
    told["netns_is_there"] = os.path.exists(told["NETNS"])
    told["environment"] = sorted(os.environ)
    told["conf"] = {k: v for k, v in conf.items() if k not in ("record", "behave")}
    with open(conf["record"], "a", encoding="utf-8") as f:
        f.write(json.dumps(told) + "\n")
    with open(conf["behave"], encoding="utf-8") as f:
        how = json.load(f).get(command, "")
    result = conf.get("prevResult", {})
    if how == "fail":
        print("what a plugin has to say of it", file=sys.stderr)
        fail("the plugin does not want to")
    elif how == "fail without a word":
        sys.exit(3)
    elif how == "crash":
        os.kill(os.getpid(), 9)
    elif how == "slow":
        time.sleep(1)
    elif how == "hang":
        if os.fork() == 0:
            os.setsid()
        time.sleep(3600)
    elif how == "leave a process":
        # It has all that we have open, standard output too.
        if os.fork() == 0:
            time.sleep(3600)
    elif how == "flood":
        while True:
            os.write(1, b" " * 65536)
    elif how == "flood of errors":
        for _ in range(2000):
            os.write(2, b"x" * 65535 + b"\n")
        fail("at last")
    elif how == "say nothing":
        return
    elif how == "no JSON":
        print("all is well")
        return
    elif how == "a list for a result":
        print("[]")
        return
    elif how == "depth":
        print('{"ips":' + "[" * 200000)
        return
    elif how in LIES:
        LIES[how](result)
    elif how.startswith("wait "):
        time.sleep(float(how[5:]))
    if command == "ADD":
        print(json.dumps(result))


main()
