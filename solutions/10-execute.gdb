# run.sh --kernel --shard shards/hello-c
# The entry with NX.
python
from diagnosis import *
steps = stop_at_fault()
answer("level", next(name for name, entry in steps if entry & NX))
answer("bit", next(bit for bit in range(64) if 1 << bit == NX))
end
kill
