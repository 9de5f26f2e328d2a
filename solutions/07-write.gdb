# run.sh --kernel --shard shards/hello-c
# The first entry of the walk without W, and the instruction at the saved rip.
add-symbol-file build/debug/shards/hello-c.elf
python
from diagnosis import *
steps = stop_at_fault()
answer("level", next(name for name, entry in steps if not entry & WRITE))
answer("instruction", gdb.execute("x/i frame->rip", to_string=True).split("\t")[1].split()[0])
end
kill
