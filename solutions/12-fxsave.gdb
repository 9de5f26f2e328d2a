# run.sh --kernel --shard labs/checks/sums -icount shift=3,align=off,sleep=off
# What the interrupt of ring 3 should have written is still as the shard's first entry left it, and is loaded again.
python
from diagnosis import *
gdb.execute("hbreak sched_preempt")
for _ in range(40):  # the first ticks may come before the shard has used XMM0
    gdb.execute("continue")
    if number("*(unsigned long *)(current->fpu + 160)") != number("$xmm0.v2_int64[0]"):
        answer("member", "fpu")
        break
answer("mxcsr", number("*(unsigned int *)(current->fpu + 24)"))
code = gdb.execute("x/60i isr_common", to_string=True).split("interrupt_dispatch")[0]
if "fxsave" not in code:
    answer("instruction", "fxsave64")
end
kill
