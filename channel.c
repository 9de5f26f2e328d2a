/*
 * channel.c: messages between shards.
 *
 * A channel has two ends, numbered 2c and 2c + 1, so that the other end of e is e ^ 1. Each end has an inbox, a
 * home (the shard that the manifest put there) and two lists of waiters: shards that wait to receive from the
 * inbox and shards that wait for room in it. A message is copied into the inbox by its sender and out of it by
 * its receiver, each in its own address space.
 *
 * Invariants: whoever waits is woken by a message, by room, by the end of the other side, by the loss of the
 * capability it waits through, or as part of a deadlock. A woken shard looks again: being woken promises
 * nothing. While a CALL waits at an end, nobody else receives there.
 *
 * Read next: fs.c.
 */
#include "kernel.h"

#define INBOX 4 /* messages that one direction queues */
#define ENDS (2 * MAX_CHANNELS)

enum end_state {
	END_UNUSED,
	END_PENDING, /* its home has not started yet: messages to it wait */
	END_OPEN,
	END_CLOSED, /* its home has ended */
};

struct message {
	uint64_t len; /* bytes */
	uint8_t bytes[COCONUT_MESSAGE_MAX];
};

struct end {
	enum end_state state;
	uint8_t home;
	uint8_t first, count;     /* of the inbox */
	uint32_t closings;        /* how often it has closed: a wait must not outlast one */
	struct shard *receivers;  /* blocked until the inbox has a message, first come first */
	struct shard *senders;    /* blocked until the inbox has room */
	struct shard *caller;     /* inside a CALL that waits for its answer here */
	struct message inbox[INBOX];
};

static struct end ends[ENDS];

/* ---- Set-up and tear-down ---- */

/* Makes channel number `channel` between two shards of the manifest, whose ends wait for them to start. */
void channel_create(uint32_t channel, uint32_t shard_a, uint32_t shard_b)
{
	ends[2 * channel] = (struct end){.state = END_PENDING, .home = (uint8_t)shard_a};
	ends[2 * channel + 1] = (struct end){.state = END_PENDING, .home = (uint8_t)shard_b};
}

/* Opens the ends of a shard that starts or starts again, with empty queues, and gives it their capabilities: the
 * handles count from 0 in manifest order. */
void channels_open(uint32_t home)
{
	for (uint32_t e = 0; e < ENDS; e++) {
		struct end *end = &ends[e];
		if (end->state == END_UNUSED || end->home != home)
			continue;
		if (end->state == END_CLOSED)
			end->count = ends[e ^ 1].count = 0;
		end->state = END_OPEN;
		cap_insert(&caps, home,
			   (struct capability){.type = CAP_CHANNEL,
					       .rights = CAP_RIGHT_SEND | CAP_RIGHT_RECV | CAP_RIGHT_GRANT,
					       .resource = (uint16_t)e},
			   false);
	}
}

/* Returns the handle that a shard of the manifest has for its end of the channel. */
uint32_t channel_handle(uint32_t home, uint32_t channel)
{
	uint32_t handle = 0;

	for (uint32_t e = 0; e < 2 * channel; e++)
		handle += ends[e].state != END_UNUSED && ends[e].home == home;
	return handle;
}

/* Closes the ends of a dying shard. Messages it has sent stay to be received; those to it are wiped. */
void channels_close(struct shard *shard)
{
	for (uint32_t e = 0; e < ENDS; e++) {
		struct end *end = &ends[e];
		if (end->caller == shard)
			end->caller = NULL;
		if (end->state == END_UNUSED || end->home != shard->id)
			continue;
		end->state = END_CLOSED;
		end->closings++;
		end->first = end->count = 0;
		if (!ABLATE(zeroing))
			memset(end->inbox, 0, sizeof(end->inbox));
		sched_wake_all(&end->senders, -COCONUT_E_CLOSED);
		sched_wake_all(&ends[e ^ 1].receivers, -COCONUT_E_CLOSED);
		preempt_point();
	}
}

/* Returns the slot of the shard at home at the other side of end `e`, or -COCONUT_E_CLOSED. */
int channel_other_home(uint32_t e)
{
	const struct end *other = &ends[e ^ 1];

	return other->state == END_OPEN ? other->home : -COCONUT_E_CLOSED;
}

/* ---- The calls ---- */

/* Looks up the channel end that `handle` names with the given right. Returns it or an error. */
static int64_t end_of(uint64_t handle, uint8_t right)
{
	const struct capability *cap = cap_find(&caps, current->id, handle);

	if (!cap)
		return refuse(COCONUT_E_BADHANDLE, 1, handle, "the handle names no capability");
	if (cap->type != CAP_CHANNEL)
		return refuse(COCONUT_E_TYPE, 1, handle, "the capability is not for a channel");
	if ((cap->rights & right) != right && !ABLATE(endpoint))
		return refuse(COCONUT_E_RIGHTS, 1, handle,
			      right & CAP_RIGHT_SEND ? "the capability lacks the right SEND" : "the capability lacks the right RECV");
	return cap->resource;
}

/* Between being woken and running a shard may have lost its capability or its peer. Returns the error, or 0. */
static int64_t check_after_wait(uint64_t handle, uint32_t e, uint32_t closings)
{
	const struct capability *cap = cap_find(&caps, current->id, handle);

	if (!cap || cap->type != CAP_CHANNEL || cap->resource != e)
		return -COCONUT_E_BADHANDLE;
	return ends[e ^ 1].closings == closings || ends[e].count ? 0 : -COCONUT_E_CLOSED;
}

/* Blocks the current shard at the tail of a list. Returns the error that ended the wait, or 0 to look again. */
static int64_t wait_on(struct shard **list, enum wait_kind kind, uint64_t handle, uint32_t e)
{
	uint32_t closings = ends[e ^ 1].closings;
	int64_t error = sched_wait(list, kind, (uint16_t)e, handle);

	return error ? error : check_after_wait(handle, e, closings);
}

/* Says why a wait ended without success. Returns `error`. */
static int64_t wait_failed(int64_t error, uint64_t handle)
{
	return refuse((int)-error, 1, handle,
		      error == -COCONUT_E_CLOSED ? "the other end closed while waiting"
		      : error == -COCONUT_E_BUSY ? "another holder of this end began a CALL"
						 : "the capability was taken away while waiting");
}

/* Puts a message of the current shard into an inbox that has room. */
static void put_message(struct end *end, uint64_t buf, uint64_t len)
{
	struct message *message = &end->inbox[(end->first + end->count) % INBOX];

	copy_from_user(message->bytes, buf, len);
	message->len = len;
	end->count++;
}

/* Queues the message for the other side of end `e`, waiting for room. Returns 0 or an error. */
static int64_t send(uint64_t handle, uint32_t e, uint64_t buf, uint64_t len)
{
	struct end *other = &ends[e ^ 1];

	while (other->state != END_CLOSED && other->count == INBOX) {
		int64_t error = wait_on(&other->senders, WAIT_SEND, handle, e);
		if (error)
			return wait_failed(error, handle);
	}
	if (other->state == END_CLOSED)
		return refuse(COCONUT_E_CLOSED, 1, handle, "the other end is closed");

	put_message(other, buf, len);
	sched_wake_all(&other->receivers, 0);
	return 0;
}

/* Waits for a message at end `e` and takes it. Returns its length or an error; a message that is larger than
 * `max` stays. */
static int64_t receive(uint64_t handle, uint32_t e, uint64_t buf, uint64_t max)
{
	struct end *end = &ends[e];

	for (;;) {
		if (end->caller && end->caller != current)
			return refuse(COCONUT_E_BUSY, 1, handle, "another holder of this end is in a CALL");
		if (end->count)
			break;
		if (ends[e ^ 1].state == END_CLOSED)
			return refuse(COCONUT_E_CLOSED, 1, handle, "the other end is closed");
		int64_t error = wait_on(&end->receivers, WAIT_RECV, handle, e);
		if (error)
			return wait_failed(error, handle);
	}

	struct message *message = &end->inbox[end->first];
	uint64_t len = message->len;
	if (len > max)
		return refuse(COCONUT_E_TOOSMALL, 3, max, "the message is larger than the buffer and stays queued");
	copy_to_user(buf, message->bytes, len);
	end->first = (end->first + 1) % INBOX;
	end->count--;
	if (end->senders)
		sched_wake_all(&end->senders, 0);
	return (int64_t)len;
}

/* The fast path of CALL, for two shards that take turns: sends and waits in one switch. It is taken when
 *   - the peer, and nobody else, waits to receive at the other end, whose inbox is empty;
 *   - this end's inbox is empty, and nobody waits to send to either end;
 *   - the peer would be the next to run.
 * The effect is that of send() and the first round of receive(). Returns whether it was taken, and then in `*error`
 * what the wait for the answer ended with. */
static bool call_fast(uint64_t handle, uint32_t e, uint64_t buf, uint64_t len, int64_t *error)
{
	struct end *end = &ends[e], *other = &ends[e ^ 1];
	struct shard *peer = other->receivers;
	uint32_t closings = other->closings;

	if (!peer || peer->next || other->count | end->count || end->senders || other->senders || !sched_may_hand_over(peer))
		return false;
	put_message(other, buf, len);
	*error = sched_hand_over(peer, &end->receivers, WAIT_RECV, (uint16_t)e, handle);
	if (!*error)
		*error = check_after_wait(handle, e, closings);
	return true;
}

static inline int64_t check_message(int argument, uint64_t buf, uint64_t len)
{
	if (len == 0 || len > COCONUT_MESSAGE_MAX)
		return refuse(COCONUT_E_INVAL, argument + 1, len, "the length is not 1 to 256 bytes");
	if (!user_readable(buf, len))
		return refuse(COCONUT_E_FAULT, argument, buf, "the buffer is not wholly mapped");
	return 0;
}

static inline int64_t check_buffer(int argument, uint64_t buf, uint64_t max)
{
	if (max == 0)
		return refuse(COCONUT_E_INVAL, argument + 1, max, "the buffer has no room for a message");
	if (!user_range(buf, max) || !user_writable(buf, max < COCONUT_MESSAGE_MAX ? max : COCONUT_MESSAGE_MAX))
		return refuse(COCONUT_E_FAULT, argument, buf, "the buffer is not wholly mapped and writable");
	return 0;
}

/* CHANNEL_SEND: queues a message; waits while the queue is full. */
int64_t sys_channel_send(uint64_t handle, uint64_t buf, uint64_t len)
{
	int64_t e = end_of(handle, CAP_RIGHT_SEND), bad;

	if (e < 0)
		return e;
	if ((bad = check_message(2, buf, len)))
		return bad;
	return send(handle, (uint32_t)e, buf, len);
}

/* CHANNEL_RECV: waits for a message and takes it. Returns its length. */
int64_t sys_channel_recv(uint64_t handle, uint64_t buf, uint64_t max)
{
	int64_t e = end_of(handle, CAP_RIGHT_RECV), bad;

	if (e < 0)
		return e;
	if ((bad = check_buffer(2, buf, max)))
		return bad;
	return receive(handle, (uint32_t)e, buf, max);
}

/* CHANNEL_CALL: sends, then waits at the same end for the answer, with nobody else receiving there. */
int64_t sys_channel_call(uint64_t handle, uint64_t buf, uint64_t len, uint64_t reply, uint64_t max)
{
	int64_t e = end_of(handle, CAP_RIGHT_SEND | CAP_RIGHT_RECV), result;
	struct end *end;

	if (e < 0)
		return e;
	if ((result = check_message(2, buf, len)) || (result = check_buffer(4, reply, max)))
		return result;
	end = &ends[e];
	if (end->caller)
		return refuse(COCONUT_E_BUSY, 1, handle, "another holder of this end is in a CALL");
	end->caller = current;
	if (end->receivers)
		sched_wake_all(&end->receivers, -COCONUT_E_BUSY);
	if (!call_fast(handle, (uint32_t)e, buf, len, &result))
		result = send(handle, (uint32_t)e, buf, len);
	else if (result)
		wait_failed(result, handle);
	if (result == 0)
		result = receive(handle, (uint32_t)e, reply, max);
	end->caller = NULL;
	return result;
}

/* ---- Deadlocks ---- */

/* A set of shards, one bit a slot. */
typedef uint64_t shard_set;

/* For each end, who holds it with the right to send there, and to receive there. */
static shard_set senders_at[ENDS], receivers_at[ENDS];

static void collect_holders(void)
{
	memset(senders_at, 0, sizeof(senders_at));
	memset(receivers_at, 0, sizeof(receivers_at));
	for (uint32_t i = 0; i < ARRAY_LENGTH(caps.entry); i++) {
		const struct capability *cap = &caps.entry[i];
		shard_set holder = 1UL << i / COCONUT_CAP_SLOTS;
		if (cap->type != CAP_CHANNEL)
			continue;
		if (cap->rights & CAP_RIGHT_SEND)
			senders_at[cap->resource] |= holder;
		if (cap->rights & CAP_RIGHT_RECV)
			receivers_at[cap->resource] |= holder;
	}
}

/* Returns the shards any of which could end the wait of a blocked shard: those that could send what it waits for
 * or make room for it, the home of the other end, which could close it, and the shard whose end lets a home that
 * has not started yet begin. Those count too from whom its capability comes, who could revoke it (one that is just
 * being revoked ends its wait for certain), and somebody who could kill it: its parent. */
static shard_set who_could_wake(const struct shard *shard)
{
	if (shard->wait == WAIT_SHARD)
		return 1UL << shard->wait_object;

	uint32_t other = shard->wait_object ^ 1;
	shard_set set = shard->wait == WAIT_RECV ? senders_at[other] : receivers_at[other];
	const struct capability *cap = &caps.entry[shard->id * COCONUT_CAP_SLOTS + shard->wait_handle];

	if (ends[other].state == END_OPEN)
		set |= 1UL << ends[other].home;
	if (ends[other].state == END_PENDING)
		set |= 1UL << manifest_awaited(ends[other].home);
	if (cap->revoked)
		return ~0UL;
	for (; cap->parent != CAP_NONE; cap = &caps.entry[cap->parent])
		set |= 1UL << cap->parent / COCONUT_CAP_SLOTS;
	if (shard->parent)
		set |= 1UL << shard->parent->id;
	return set & ~(1UL << shard->id);
}

/* Prints who waits for whom, from one stuck shard on until the circle closes. */
static void print_cycle(shard_set stuck)
{
	uint32_t at = (uint32_t)__builtin_ctzl(stuck);
	shard_set seen = 0;

	print("Deadlock: %s", shards[at].profile->name);
	while (!(seen >> at & 1)) {
		const struct shard *shard = &shards[at];
		shard_set next = who_could_wake(shard) & stuck;

		print("%s waits ", seen ? ", which" : "");
		if (shard->wait == WAIT_SHARD)
			print("for the end of ");
		else
			print("to %s on channel %u ", shard->wait == WAIT_RECV ? "receive" : "send", shard->wait_object / 2);
		if (!next) {
			print("and nobody is left to answer");
			break;
		}
		seen |= 1UL << at;
		at = (uint32_t)__builtin_ctzl(next);
		print("%s%s", shard->wait == WAIT_RECV ? "from " : shard->wait == WAIT_SEND ? "to " : "", shards[at].profile->name);
		preempt_point();
	}
	print(". They are killed.\n");
}

/* Searches for shards whose waits can never end, because everybody who could end them waits likewise. Names the
 * circle and kills them. Returns whether there were any. */
bool channel_deadlocks(void)
{
	shard_set stuck = 0, before;

	for (uint32_t i = 0; i < MAX_SHARDS; i++)
		if (shards[i].state == SHARD_BLOCKED && shards[i].wait != WAIT_DMA) /* an engine always answers, or edu_watch */
			stuck |= 1UL << i;
	if (!stuck)
		return false;
	collect_holders();
	do {
		before = stuck;
		for (shard_set left = stuck; left; left &= left - 1) {
			uint32_t i = (uint32_t)__builtin_ctzl(left);
			if (who_could_wake(&shards[i]) & ~stuck)
				stuck &= ~(1UL << i);
			preempt_point();
		}
	} while (stuck != before);
	if (!stuck)
		return false;
	print_cycle(stuck);
	for (shard_set left = stuck; left; left &= left - 1) {
		shard_kill(&shards[__builtin_ctzl(left)], PRIORITY_CRITICAL);
		preempt_point();
	}
	return true;
}
