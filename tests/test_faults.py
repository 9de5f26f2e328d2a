"""Exceptions of ring 3: each kills its shard, is explained on the console, and harms nobody else.

Read next: tests/shards/faults/main.c, which raises them; fault.c.
"""

import re

UD, GP, PF = 6, 13, 14
# What each case of the shard `faults` raises. A set where QEMU and the manuals
# differ: QEMU pops the frames of IRET and far RET with the kernel's rights, which SMAP forbids, and has #GP for XSETBV.
CASES = {
    "divide": 0, "idiv_overflow": 0, "x87": 16, "single_step": 1,
    "ud2": UD, "lock_nop": UD, "rdfsbase": UD, "wrgsbase": UD, "stac": UD, "clac": UD, "monitor": UD, "mwait": UD,
    "xgetbv": UD, "xsetbv": {UD, GP}, "xsave": UD, "rdpkru": UD, "vmcall": UD, "vmmcall": UD, "vmrun": UD, "clgi": UD,
    "rsm": UD, "into": UD, "avx": UD, "avx512": UD, "amx": UD, "icebp": {1, UD},
    "hlt": GP, "cli": GP, "sti": GP, "in": GP, "out": GP, "outs": GP, "read_cr0": GP, "read_cr2": GP, "read_cr3": GP,
    "write_cr0": GP, "write_cr3": GP, "write_cr4": GP, "write_cr8": GP, "read_dr0": GP, "write_dr7": GP, "rdmsr": GP,
    "wrmsr": GP, "rdtsc": GP, "rdtscp": GP, "rdpmc": GP, "sgdt": GP, "sidt": GP, "sldt": GP, "str": GP, "smsw": GP,
    "lgdt": GP, "lidt": GP, "lldt": GP, "ltr": GP, "lmsw": GP, "clts": GP, "invlpg": GP, "invd": GP, "wbinvd": GP,
    "swapgs": GP, "sysret": GP, "sysexit": {UD, GP}, "sysenter": {UD, GP}, "int3": GP,
    "ss_kernel": GP, "ss_null": GP, "ss_beyond": GP, "ds_tss": GP, "ds_kernel": GP, "es_beyond": GP, "gs_ldt": GP,
    "iret_ring0": {PF, GP}, "far_return": {PF, GP}, "far_jump_08": GP, "far_jump_10": GP, "far_jump_1b": GP, "far_jump_28": GP,
    "far_jump_30": GP, "far_call_08": GP, "far_call_28": GP,
    "read_null": PF, "write_null": PF, "read_kernel": PF, "write_kernel": PF, "read_hhdm": PF, "read_device": PF,
    "write_code": PF, "read_unmapped": PF, "overflow": PF, "non_canonical_read": GP, "non_canonical_push": {12, GP},
    "overlong": GP,
    "run_heap": PF, "run_stack": PF, "run_kernel": PF, "run_nothing": PF, "run_null": PF, "run_non_canonical": GP,
}
# Where a jump ends up, and words that the explanation must have.
TARGETS = {"run_heap": 0x100000, "run_stack": 0x7FF000, "run_kernel": 0xFFFFFFFF80201000, "run_nothing": 0x600000,
           "run_null": 0}
WORDS = {
    "divide": "division by zero", "single_step": "trap flag", "ud2": "instruction", "avx": "AVX", "hlt": "privileged",
    "read_null": "NULL", "write_null": "write to 0x8", "read_kernel": "supervisor", "write_kernel": "write to",
    "write_code": "read-only", "overflow": "stack is one page", "read_unmapped": "nothing is mapped",
    "run_heap": "not executable", "run_null": "instruction fetch", "x87": "floating-point",
    "non_canonical_read": "non-canonical",
}
KILLED = re.compile(r"^Shard \d+ \((\S+)\) killed: .*?vector (\d+)\)?,? at rip (0x[0-9a-f]+)", re.M)


def labels(t):
    """Returns the addresses of the faulting instructions, by name."""
    elf = t.shard("faults")[:-len(".bin")] + ".elf"
    table = t.sh(["nm", elf], expect=0).stdout
    found = {name: int(address, 16) for address, name in re.findall(r"^(\w+) \w fault_(\w+)$", table, re.M)}
    found["interrupts"] = int(re.search(r"^(\w+) \w interrupts$", table, re.M).group(1), 16)
    return found


def run(t, names):
    """Boots the cases in groups, each with a sibling that must finish. Returns {name: (vector, rip, explanation)}."""
    seen = {}
    names = list(names)
    for first in range(0, len(names), 62):
        group = names[first:first + 62]
        lines = ['shard fine0 /t/faults args="fine" priority=high']
        lines += ['shard %s /t/faults args="%s"' % (name.replace(" ", "-"), name) for name in group]
        lines += ['shard fine1 /t/faults args="fine"']
        result = t.guest("\n".join(lines), expect=1)
        endings = result.endings()
        t.equal((endings.get("fine0"), endings.get("fine1")), (0, 0), "ends of the siblings")
        for name in group:
            t.equal(endings.get(name.replace(" ", "-")), "killed", "end of the shard `%s`" % name)
        for match in KILLED.finditer(result.text):
            rest = result.text[match.start():].split("\n")[:2]
            t.check(rest[1].startswith("  Likely cause: "), "no likely cause below: " + rest[0])
            seen[match.group(1)] = (int(match.group(2)), int(match.group(3), 16), " ".join(rest))
    return seen


def test_exceptions(t):
    """Every kind of exception kills only its shard, with vector, rip and likely cause on the console."""
    address = labels(t)
    seen = run(t, CASES)
    for name, expected in CASES.items():
        t.check(name in seen, "%s: nothing on the console says why it was killed" % name)
        vector, rip, words = seen[name]
        t.check(vector in (expected if isinstance(expected, set) else {expected}), "%s: vector %d: %s" % (name, vector, words))
        wanted = TARGETS.get(name, address.get(name))
        if name in ("single_step", "icebp", "x87"):
            t.check(wanted - 1 <= rip <= wanted + 1, "%s: rip 0x%x, expected 0x%x" % (name, rip, wanted))
        elif name != "run_non_canonical":
            t.equal(hex(rip), hex(wanted), name + ": rip")
        t.check(WORDS.get(name, "") in words, "%s: `%s` is missing in: %s" % (name, WORDS.get(name), words))


def test_local_descriptor_table(t):
    """A shard cannot make segment descriptors of its own, also on a CPU without SMEP and SMAP."""
    for case in ("ldt_gate", "gs_ldt"):
        result = t.guest('shard a /t/faults args="%s"' % case, options=["-cpu", "max,la57=off,smap=off,smep=off"])
        t.equal((result.status, result.endings().get("a")), (1, "killed"), case + ": exit status and end")
        t.check("general protection fault (#GP), vector 13" in result.text, case + ": not refused by the CPU's tables")


def test_interrupts(t):
    """`int n` kills its shard with a #GP for each of the 256 values of n."""
    address = labels(t)["interrupts"]
    seen = run(t, ["int %d" % n for n in range(256)])
    for n in range(256):
        vector, rip, words = seen["int-%d" % n]
        t.check(vector == GP and rip == address + 4 * n, "int %d: %s" % (n, words))


test_interrupts.heavy = True
