# SPDX-License-Identifier: Apache-2.0
"""What an image is, out of the archive that `docker save` makes: its configuration, its history, and the files that its layers come to, read without running anything."""
import collections
import hashlib
import io
import json
import posixpath
import tarfile

Entry = collections.namedtuple("Entry", "kind mode uid gid content xattrs")  # content: digest of a file, target of a link, numbers of a device
KINDS = {tarfile.REGTYPE: "file", tarfile.AREGTYPE: "file", tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "link", tarfile.FIFOTYPE: "fifo", tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block"}
XATTR = "SCHILY.xattr."


class Image:
    """tree: {path: Entry}; times: {path: mtime in seconds}; links: sets of paths that are one file; config, history: as in the image's document."""

    def __init__(self, archive):
        self.tree, self.times, self._inodes, self.layers = {}, {}, {}, []
        with tarfile.open(archive) as tar:
            manifest = json.load(tar.extractfile("manifest.json"))[0]
            self.document = json.load(tar.extractfile(manifest["Config"]))
            for layer in manifest["Layers"]:
                with tarfile.open(fileobj=io.BytesIO(tar.extractfile(layer).read())) as inner:
                    self.layers.append(inner.getnames())
                    self._apply(inner)
        self.config = {k: v for k, v in self.document["config"].items() if v not in (None, "", [], {}, False)}
        self.history = [(h.get("created_by", ""), h.get("empty_layer", False)) for h in self.document["history"]]

    def _apply(self, tar):
        entries = list(tar)
        # What a layer hides is of the layers below it, wherever in the layer that is said.
        for e in entries:
            folder, name = posixpath.split(self._path(e.name))
            if name == ".wh..wh..opq":
                self._remove(folder, itself=False)
            elif name.startswith(".wh."):
                self._remove(posixpath.join(folder, name[4:]))
        for e in entries:
            if not posixpath.basename(self._path(e.name)).startswith(".wh."):
                self._add(tar, e)

    @staticmethod
    def _path(name):
        return posixpath.normpath("/" + name)

    def _remove(self, path, itself=True):
        for p in [p for p in self.tree if p.startswith(path.rstrip("/") + "/") or (itself and p == path)]:
            del self.tree[p], self.times[p], self._inodes[p]

    def _add(self, tar, e):
        path = self._path(e.name)
        if path == "/":
            return
        if e.type == tarfile.LNKTYPE:
            target = self._path(e.linkname)
            self.tree[path], self.times[path], self._inodes[path] = self.tree[target], self.times[target], self._inodes[target]
            return
        if e.type != tarfile.DIRTYPE and path in self.tree:
            self._remove(path)
        content = None
        if e.isreg():
            content = hashlib.file_digest(tar.extractfile(e), "sha256").hexdigest()
        elif e.issym():
            content = e.linkname
        elif e.ischr() or e.isblk():
            content = (e.devmajor, e.devminor)
        xattrs = {k.removeprefix(XATTR): v for k, v in e.pax_headers.items() if k.startswith(XATTR)}
        self.tree[path] = Entry(KINDS[e.type], 0o777 if e.issym() else e.mode, e.uid, e.gid, content, tuple(sorted(xattrs.items())))
        self.times[path], self._inodes[path] = int(e.mtime), object()

    @property
    def links(self):
        groups = collections.defaultdict(set)
        for path, inode in self._inodes.items():
            groups[inode].add(path)
        return {frozenset(g) for g in groups.values() if len(g) > 1}

    def file(self, archive, path):
        """Bytes of the last version of a file."""
        found = None
        with tarfile.open(archive) as tar:
            for layer in json.load(tar.extractfile("manifest.json"))[0]["Layers"]:
                with tarfile.open(fileobj=io.BytesIO(tar.extractfile(layer).read())) as inner:
                    for e in inner:
                        if self._path(e.name) == path and e.isreg():
                            found = inner.extractfile(e).read()
        return found


def differences(ours, theirs, ignore=()):
    """Words about all in which two trees differ; times only where theirs is older than the build (`ignore`: paths, with what is below)."""
    said = []
    ignored = tuple(i.rstrip("/") + "/" for i in ignore)
    for path in sorted(set(ours.tree) | set(theirs.tree)):
        if path in ignore or path.startswith(ignored):
            continue
        a, b = ours.tree.get(path), theirs.tree.get(path)
        if a is None or b is None:
            said.append(f"{path}: only {'theirs' if a is None else 'ours'}: {a or b}")
        else:
            said += [f"{path}: {what} {x!r}, theirs {y!r}" for what, x, y in zip(Entry._fields, a, b) if x != y]
    mine = {g for g in ours.links}
    said += [f"linked with one another only in {'ours' if g in mine else 'theirs'}: {sorted(g)}" for g in mine ^ theirs.links]
    return said
