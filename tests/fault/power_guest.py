# SPDX-License-Identifier: Apache-2.0
"""power_guest ROUND LAST SNAPSHOTTER: what runs in the guest of tools/power, once a boot; its output is the report.

Looks at what the last cut has left: the engine starts, `system check` finds the store consistent, the interrupted operation works now and what
was whole before is not downloaded again. Then starts the operation of this round and restarts the machine at a moment that the round decides.
"""
import os
import pathlib
import random
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
os.environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"

import harness  # noqa: E402
from harness import docker_archive  # noqa: E402
from storage import CountingRegistry, blobs, check, image_layers, layer  # noqa: E402

DATA = pathlib.Path("/data")
OPERATIONS = ["pull", "load", "commit"]


def mount():
    print("up", flush=True)
    DATA.mkdir(exist_ok=True)
    subprocess.run(["modprobe", "overlay"], check=True)
    subprocess.run(["modprobe", "loop"], check=False)
    subprocess.run(["mount", "-t", "ext4", "-o", "commit=1", "/dev/vdc", DATA], check=True)


class Guest:
    def __init__(self, number, snapshotter):
        self.number = number
        self.registry = CountingRegistry()
        self.engine = harness.Engine("--insecure-registry", "127.0.0.0/8", "--snapshotter", snapshotter, root=pathlib.Path("/run/engine"), data_root=DATA / "root")
        self.engine.root.mkdir()
        self.engine.subnet = "10.99.0.0/24"
        self.engine.start()

    def name(self, number):
        return f"{OPERATIONS[number % 3]}{number}"

    def layers(self, number):
        return [*image_layers(2), layer(100 + number, files=60)]

    def prepare(self, number):
        """Everything that the operation needs; the operation itself as arguments for the command line."""
        name = self.name(number)
        if name.startswith("pull"):
            # The registry goes with the guest; the next boot's has the same bytes on another port.
            self.registry.push(name, "x", self.layers(number))
            return ["pull", f"{self.registry.host}/{name}:x"]
        if name.startswith("load"):
            archive = pathlib.Path("/run") / f"{name}.tar"
            archive.write_bytes(docker_archive(f"{name}:x", self.layers(number)))
            return ["load", "-q", "-i", str(archive)]
        if "base:latest" not in self.engine.images():
            archive = pathlib.Path("/run/base.tar")
            archive.write_bytes(docker_archive("base:latest", image_layers(2), Cmd=["sh"]))
            self.engine.cli("load", "-q", "-i", archive)
        if name not in self.engine.containers():
            files = pathlib.Path("/run") / name
            files.mkdir(exist_ok=True)
            chance = random.Random(number)
            for i in range(40):
                (files / f"f{i}").write_bytes(chance.randbytes(20000))
            self.engine.cli("create", "--name", name, "base", "true")
            self.engine.cli("cp", f"{files}/.", f"{name}:/root")
        return ["commit", name, f"{name}:x"]

    def look(self, number):
        """After a cut in the middle of operation `number`."""
        said = check(self.engine)
        assert "consistent" in said, said
        there = blobs(self.engine)
        args = self.prepare(number)
        self.registry.forget_sent()
        self.engine.cli(*args)
        again = [d for d, _ in self.registry.sent if d in there]
        assert not again, f"downloaded although it was there: {again}"
        said = check(self.engine)
        assert "consistent" in said, said
        print(f"round {number} ({self.name(number)}) is whole", flush=True)

    def cut(self):
        chance = random.Random(1000 + self.number)
        # In half of the rounds the kernel writes out eagerly, so that a part of the files is on the disk.
        if self.number % 2:
            pathlib.Path("/proc/sys/vm/dirty_writeback_centisecs").write_text("10")
            pathlib.Path("/proc/sys/vm/dirty_expire_centisecs").write_text("10")
        args = self.prepare(self.number)
        subprocess.run(["sync"], check=True)
        began = time.monotonic()
        self.engine.popen(*args)
        # From the first moments of the operation to a while after it, when the janitor syncs.
        time.sleep(chance.uniform(0.02, 1.5) if self.number % 4 else chance.uniform(1.5, 5))
        print(f"CUT {self.name(self.number)} after {time.monotonic() - began:.2f} s", flush=True)
        time.sleep(0.05)
        pathlib.Path("/proc/sysrq-trigger").write_text("b")
        time.sleep(60)


def main():
    number, last, snapshotter = int(sys.argv[1]), sys.argv[2] == "1", sys.argv[3]
    try:
        mount()
        first = not (DATA / "root").exists()
        guest = Guest(number, snapshotter)
        if not first:
            guest.look(number - 1)
        if last:
            print("LAST", flush=True)
            guest.engine.stop()
            guest.registry.close()
            return
        guest.cut()
    except BaseException as e:
        print(f"FAILED: {e!r}\n{guest.engine.log_text() if 'guest' in locals() else ''}", flush=True)
        # The registry's threads would keep the guest.
        os._exit(1)


main()
