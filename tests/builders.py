# SPDX-License-Identifier: Apache-2.0
"""Builders with one face: ours, and docker 28's BuildKit. What a test says of a Dockerfile can so be held against both."""
import itertools
import pathlib
import shutil

from harness import busybox_archive, temp_folder
from image_trees import Image
from moby import Moby


def write_files(folder, files):
    """{path: text, bytes, or a function that makes the path}; a name that ends in .sh is executable."""
    for path, data in (files or {}).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if callable(data):
            data(target)
            continue
        target.write_bytes(data if isinstance(data, bytes) else data.encode())
        target.chmod(0o755 if path.endswith(".sh") else 0o644)


class Builder:
    """call(verb, ...): its command line."""

    def __init__(self, name):
        self.name, self.folder, self.numbers, self.tags = name, temp_folder("builder 私"), itertools.count(), set()
        self.archive = self.folder / "saved.tar"

    def build(self, dockerfile, files=None, *options, tag=None, check=True, context=None, **kw):
        """Builds in a fresh context and says how that ended; the image's name is in .tag."""
        if context is None:
            context = self.folder / f"context {next(self.numbers)}"
            context.mkdir()
            write_files(context, files)
        if dockerfile is not None:
            (context / "Dockerfile").write_text(dockerfile)
        tag = tag or f"built{next(self.numbers)}"
        p = self.call("build", "-t", tag, *options, context, check=check, **kw)
        p.tag = tag
        if p.returncode == 0:
            self.tags.add(tag)
        return p

    def image(self, tag):
        self.call("save", "-o", self.archive, tag)
        return Image(self.archive)

    def __call__(self, *args, **kw):
        """Builds; what the image is."""
        return self.image(self.build(*args, **kw).tag)

    def fails(self, *args, **kw):
        p = self.build(*args, check=False, **kw)
        assert p.returncode != 0, f"{args} should have failed: {p.stdout}{p.stderr}"
        return p.stdout + p.stderr

    def file(self, tag, path):
        self.call("save", "-o", self.archive, tag)
        return Image(self.archive).file(self.archive, path)

    def forget(self):
        """Images that were built, and contexts."""
        if self.tags:
            self.call("rmi", "-f", *self.tags)
            self.tags.clear()
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def close(self):
        shutil.rmtree(self.folder)


class Ours(Builder):
    def __init__(self, engine):
        super().__init__("ireko")
        self.engine = engine

    def call(self, *args, **kw):
        return self.engine.cli(*args, **kw)


class Theirs(Builder):
    def __init__(self):
        self.room = Moby()
        super().__init__("docker 28")
        self.call("load", "-i", busybox_archive())

    def call(self, *args, **kw):
        return self.room.docker(*args, **kw)

    def close(self):
        self.room.finish()
        super().close()


