"""bochs.py: a processor that others wrote: tests boot under Debian's Bochs what they boot under QEMU.

A Bochs stands in for the test object, so that the functions of another test file run on it unchanged:

    import bochs
    machine = bochs.machine(t)              # skips the test where Bochs is not installed
    test_state.test_fpu_control(machine)

Read next: tests/second/machine.py, which starts it.
"""

import os
import shutil
import subprocess

import harness

MACHINE = os.path.join("tests", "second", "machine.py")
FIRMWARE = ("/usr/share/bochs/BIOS-bochs-latest", "/usr/share/vgabios/vgabios.bin")
PATIENCE = 4  # times the time that a test allows under QEMU


def installed():
    """Returns whether Bochs and its firmware are there."""
    return bool(shutil.which("bochs")) and all(os.path.exists(path) for path in FIRMWARE)


def machine(t, model=None):
    """Returns a Bochs for a test; skips the test where there is none."""
    if not installed():
        t.skip("Bochs is not installed (packages bochs, bochsbios, vgabios)")
    return Bochs(t, model)


class Noted:
    """A boot whose result is appended to a list."""

    def __init__(self, boot, results):
        self.boot = boot
        self.results = results

    def __getattr__(self, name):
        return getattr(self.boot, name)

    def wait(self):
        result = self.boot.wait()
        if result not in self.results:
            self.results.append(result)
        return result


class Bochs:
    """Stands in for the test: its guests boot under Bochs, and the rows that it reports are kept in `found`."""

    def __init__(self, test, model=None):
        self.test = test
        self.model = model
        self.full = False  # the full counts would take hours here
        self.found = {}  # row: what is wrong, or why it is skipped
        self.results = []  # of the boots, in order

    def __getattr__(self, name):
        return getattr(self.test, name)

    def start_guest(self, manifest, files=None, options=(), build=None, verbose=False, timeout=600, expect=None,
                    machine_options=()):
        """As that of harness.Test. machine_options: of machine.py. Guests need more time here: time-outs are longer."""
        self.check(not options, "Bochs does not know QEMU's options: %s" % (options,))
        image = self.guest_ramdisk(manifest, files)
        self.test.boots += 1
        timeout *= PATIENCE
        command = ["python3", MACHINE, "--build", str(build or "build"), "--ramdisk", image, "--timeout", str(timeout)]
        command += ["--keep", self.folder()]
        command += ["--model", self.model] if self.model else []
        command += ["--words", "verbose"] if verbose else []
        command += machine_options
        self.log("$ " + harness.describe(command))
        process = harness.start(command, cwd=harness.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return Noted(harness.Boot(self.test, process, timeout, expect, self.test.boots), self.results)

    def folder(self):
        """Returns the folder of the last boot's logs."""
        return os.path.join(self.scratch, "bochs%d" % self.test.boots)

    def said(self):
        """Returns what Bochs's debugger has said of the last boot."""
        with open(os.path.join(self.folder(), "said"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def guest(self, *arguments, **options):
        return self.start_guest(*arguments, **options).wait()

    def row(self, name, problem=None, skip=None, note=None):
        self.found[name] = problem or skip
        self.log("%s: %s" % (name, problem or skip or "right"))
