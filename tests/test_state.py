"""Registers: what survives system calls and switches, and what a shard finds in them when it begins.

Read next: tests/shards/fpu/main.c, tests/shards/entry/main.c.
"""

from test_calls import BIG


def test_registers(t):
    """Of the general registers a call changes rax, rcx and r11 only, and it leaves no kernel address in any."""
    t.guest('shard a /t/registers args="a"\nshard b /t/registers args="b"\nchannel a b\nchannel a b',
            files={"/big": BIG},
            expect=0)


def test_entry(t):
    """A shard begins with defined registers, also after another one has filled them."""
    lines = ['shard e1 /t/entry', 'shard f1 /t/fpu args="s 20 11"', 'shard f2 /t/fpu args="y 50 12"',
             "shard e2 /t/entry after=f1", "shard e3 /t/entry after=f2"]
    t.guest("\n".join(lines), expect=0)


def fpu_boot(t, rounds):
    lines = ['shard spin%d /t/fpu args="s %d %d"' % (i, rounds["s"], 100 + i) for i in range(4)]
    lines += ['shard yield%d /t/fpu args="y %d %d"' % (i, rounds["y"], 200 + i) for i in range(3)]
    lines += ['shard call /t/fpu args="c %d 301"' % rounds["c"],
              'shard echo /t/fpu args="e %d 302"' % (rounds["c"] - 1),
              "channel call echo"]
    return t.guest("\n".join(lines), expect=None, timeout=1200)


def test_fpu(t):
    """XMM0-15, x87, MMX and MXCSR survive preemption, yield and blocking calls among siblings with other patterns."""
    scale = 20 if t.full else 1
    result = fpu_boot(t, {"s": 600 * scale, "y": 15000 * scale, "c": 8000 * scale})
    endings = result.endings()
    t.check(len(endings) == 9, "only %d of 9 shards ended" % len(endings))
    for name, code in endings.items():
        t.equal(code, 0, "end of " + name)
    switches = sum(row["switches"] for row in result.profile().values())
    t.check(switches > 50000, "only %d switches" % switches)


test_fpu.heavy = True


def test_fpu_control(t):
    """The same battery fails on a kernel that does not save the FPU state at blocking calls."""
    t.log_path = t.own_log
    build = t.variant("no-fxsave", ABLATION="ABLATION_fxsave")
    lines = ['shard y1 /t/fpu args="y 100 1"', 'shard y2 /t/fpu args="y 100 2"']
    result = t.guest("\n".join(lines), build=build)
    t.check(set(result.endings().values()) != {0}, "the state survived without being saved")


def test_flags(t, cases=("df", "ac", "nt", "iopl", "rsp", "tf")):
    """DF, AC, NT, IOPL and wild stack pointers at calls and preemption harm nobody and come back; TF kills its
    shard."""
    lines = ['shard %s /t/flags args="%s"' % (case, case) for case in cases]
    lines += ['shard y%d /t/fpu args="y 3000 %d"' % (i, i) for i in (1, 2)]
    result = t.guest("\n".join(lines), files={"/big": BIG}, expect=int("tf" in cases))
    wanted = {case: "killed" if case == "tf" else 0 for case in cases}
    wanted.update(y1=0, y2=0)
    t.equal(result.endings(), wanted, "ends")
    t.check("tf" not in cases or "(tf) killed: debug exception (#DB), vector 1" in result.text,
            "the single step was not seen for what it is")
