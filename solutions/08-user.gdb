# run.sh --kernel --shard shards/hello-c
# U has to be set at all levels.
python
from diagnosis import *
steps = stop_at_fault()
answer("leaf", "yes" if steps[-1][1] & USER else "no")
answer("missing", sum(not entry & USER for _, entry in steps[:-1]))
end
kill
