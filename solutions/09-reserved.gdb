# run.sh --kernel --shard shards/llama-inference
# A physical address of QEMU's processor has 40 bits, so bits 51 to 40 of an entry are reserved.
python
from diagnosis import *
steps = stop_at_fault()
name, entry = steps[-1]
answer("level", name)
answer("present", "yes" if entry & PRESENT else "no")
answer("bit", next(bit for bit in range(40, 52) if entry >> bit & 1))
end
kill
