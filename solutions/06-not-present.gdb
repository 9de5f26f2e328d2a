# run.sh --kernel --shard shards/hello-c
# The walk of the address ends before its leaf.
python
from diagnosis import *
steps = stop_at_fault()
answer("level", steps[-1][0])
answer("access", "fetch" if number("frame->error") & 16 else "write" if number("frame->error") & 2 else "read")
end
kill
