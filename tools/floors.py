# SPDX-License-Identifier: Apache-2.0
"""The floors of the house, read from the table in meson.build: the one place where they are written down."""
import ast
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent

class Floor:
    def __init__(self, name, folder, below, libraries):
        self.name, self.folder, self.below, self.libraries = name, folder, below, libraries

    @property
    def path(self):
        return ROOT / "src" / self.folder

    def sources(self):
        return sorted(p for p in self.path.glob("*.c") if not re.search(r"^test-|-(test|fuzz)\.c$", p.name))

    def fuzzers(self):
        return sorted(self.path.glob("*-fuzz.c"))


class Program(Floor):
    """A program as what its fuzzers are linked with: its floors, and its own files but main.c."""

    def __init__(self, name, floors):
        super().__init__(name, f"cmd/{name}", list(floors), [])

    def sources(self):
        return [p for p in super().sources() if p.name != "main.c"]

    def sources_of(self, source):
        """Those that a file needs. Of a small program all; else, for each header of ours that is included, foo.c and foo-*.c, and what these need in turn."""
        all_of_them, need, todo, seen = self.sources(), set(), [source], set()
        if len(all_of_them) < 30:
            return all_of_them
        while todo:
            for name in re.findall(r'^#include "([\w-]+)\.h"', todo.pop().read_text(), re.M):
                header, stem = self.path / f"{name}.h", name.removesuffix("-internal")
                found = {p for p in all_of_them if p.stem == stem or p.stem.startswith(stem + "-")} - need
                need |= found
                todo += [*found, *({header} - seen if header.exists() else ())]
                seen.add(header)
        return sorted(need)


def load():
    """Name -> Floor, in the order of the house."""
    text = (ROOT / "meson.build").read_text()
    table = re.search(r"^floors = (\{.*?^\})", text, re.M | re.S)
    if not table:
        raise SystemExit("meson.build: no `floors = {...}` table found")
    floors = {name: Floor(name, *spec) for name, spec in ast.literal_eval(table.group(1)).items()}
    seen = set()
    for floor in floors.values():
        above = [b for b in floor.below if b not in seen]
        if above:
            raise SystemExit(f"meson.build: floor {floor.name} may call {above[0]}, which does not stand below it")
        seen.add(floor.name)
    return floors


def link_flags(names):
    """Linker flags of libraries by their names in meson.build: from pkg-config, or by name where they have no .pc file."""
    text = (ROOT / "meson.build").read_text()
    packages, flags = [], []
    for name in sorted(names):
        m = re.search(rf"(?:'{name}':|^{name} =) *(dependency|cc\.find_library)\('([^']+)'", text, re.M)
        if not m:
            raise SystemExit(f"meson.build: library {name} is used by a floor and defined nowhere")
        if m.group(2) == "threads":
            flags.append("-lpthread")
        elif m.group(1) == "dependency":
            packages.append(m.group(2))
        else:
            flags.append(f"-l{m.group(2)}")
    if packages:
        flags += subprocess.run(["pkg-config", "--libs", *packages], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    return flags


def programs():
    """Name of a program -> the floors whose headers it may include."""
    text = (ROOT / "meson.build").read_text()
    table = re.search(r"^programs = (\{.*?^\})", text, re.M | re.S)
    if not table:
        raise SystemExit("meson.build: no `programs = {...}` table found")
    plain = re.sub(r"get_option\(('\w+')\)|\bhelper_dir\b", "''", table.group(1)).replace("true", "True").replace("false", "False")
    return {name: set(spec[0]) for name, spec in ast.literal_eval(plain).items()}


def fuzzed_programs():
    """Those with fuzzers of their own."""
    found = [Program(name, sorted(floors)) for name, floors in programs().items()]
    return [p for p in found if p.fuzzers()]


def closure(floors, top):
    """The floor (or program) and all below it that it links, the highest first."""
    need = set()

    def add(n):
        if n not in need:
            need.add(n)
            for below in floors[n].below:
                add(below)

    for below in top.below:
        add(below)
    return [top, *(f for f in reversed(list(floors.values())) if f.name in need)]
