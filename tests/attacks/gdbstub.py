"""gdbstub.py: asks a running QEMU for registers at breakpoints, by the protocol of gdb's remote stub.

Only what tests/test_attacks.py needs: hardware breakpoints, registers, memory, continue. Read next:
labs/lib/machine.py, which builds on it.
"""

import os
import shutil
import socket
import struct
import tempfile
import time

REGISTERS = ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"] + ["r%d" % n for n in range(8, 16)] + ["rip"]
STEPS_AT_MOST = 100  # that leave every register as it was: an instruction that jumps to itself does so for ever


class GdbStub:
    """Pass `options` to the boot; connect() finds the machine stopped before its first instruction."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="coconut-")  # a short path: that of a socket has 107 bytes at most
        self.path = os.path.join(self.folder, "gdb")
        self.options = ["-S", "-gdb", "unix:%s,server=on,wait=off" % self.path]
        self.connection = None
        self.pending = b""

    def connect(self, timeout=120):
        deadline = time.monotonic() + timeout
        while True:
            self.connection = socket.socket(socket.AF_UNIX)
            try:
                self.connection.connect(self.path)
                break
            except OSError:
                self.connection.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        self.connection.settimeout(timeout)

    def ask(self, text):
        """Sends a packet and returns the answer to it."""
        self.connection.sendall(b"$%s#%02x" % (text.encode(), sum(text.encode()) & 0xFF))
        return self.answer()

    def answer(self):
        while True:
            start = self.pending.find(b"$")
            end = self.pending.find(b"#", start)
            if start >= 0 and 0 <= end < len(self.pending) - 2:
                text = self.pending[start + 1:end].decode()
                self.pending = self.pending[end + 3:]
                self.connection.sendall(b"+")
                return text
            data = self.connection.recv(65536)
            if not data:
                raise EOFError("QEMU has ended")
            self.pending += data

    def breakpoint(self, address, wanted=True):
        if self.ask("%s1,%x,1" % ("Z" if wanted else "z", address)) != "OK":
            raise OSError("QEMU takes no breakpoint at %#x" % address)

    def go_on(self):
        """Continues until a breakpoint; raises EOFError when the machine ends. QEMU stops again where it stands: hence
        the single step before. On a busy host a step may end before it has executed anything: then another one is
        taken, or the same stop would count twice."""
        before = self.ask("g")
        for _ in range(STEPS_AT_MOST):
            self.resume("s")
            if self.ask("g") != before:
                break
        self.resume("c")

    def resume(self, how):
        """Lets the machine run, by `c` or `s`, until it stops."""
        if not self.ask(how).startswith(("T", "S")):
            raise EOFError("the machine has ended")

    def registers(self):
        """Returns the general registers and `flags`."""
        raw = bytes.fromhex(self.ask("g"))
        found = dict(zip(REGISTERS, struct.unpack_from("<17Q", raw)))
        found["flags"] = struct.unpack_from("<I", raw, 17 * 8)[0]
        return found

    def memory(self, address, size):
        return bytes.fromhex(self.ask("m%x,%x" % (address, size)))

    def detach(self):
        """Lets the machine run on by itself."""
        self.ask("D")
        self.connection.close()

    def close(self):
        if self.connection:
            self.connection.close()
        shutil.rmtree(self.folder, ignore_errors=True)
