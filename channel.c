/*
 * channel.c: messages between shards.
 *
 * A channel has two ends, numbered 2c and 2c + 1, so that the other end of e is e ^ 1. Each end has an inbox, a
 * home (the shard that the manifest put there) and two lists of waiters: shards that wait to receive from the
 * inbox and shards that wait for room in it. A message is copied into the inbox by its sender and out of it by
 * its receiver, each in its own address space; or at once, where call.c finds the short way. A capability can be
 * granted to the shard at the other end.
 *
 * Invariants: whoever waits is woken by a message, by room, when either end closes, by the loss of the capability it
 * waits through, by a CALL at the same end (E_BUSY), or by a KILL. Who is woken with 0 looks again: that promises
 * nothing. While a CALL waits at an end, nobody else receives there.
 *
 * Read next: call.c.
 */
#include "kernel.h"

#define INBOX (ABLATE(room) ? 1 : 4) /* messages that one direction queues */
#define ENDS (2 * MAX_CHANNELS)

struct message {
	uint64_t len; /* bytes */
	uint8_t bytes[COCONUT_MESSAGE_MAX];
};

struct end ends[ENDS] __attribute__((aligned(2 * sizeof(struct end))));
static struct message inboxes[ENDS][INBOX];

/* ---- Set-up and tear-down ---- */

/* Makes channel number `channel` between two shards of the manifest, whose ends wait for them to start. */
void channel_create(uint32_t channel, uint32_t shard_a, uint32_t shard_b) {
	struct end *end = &ends[2 * channel];

	end[0] = (struct end){.state = END_PENDING, .home = (uint8_t)shard_a, .inbox = inboxes[2 * channel]};
	end[1] = (struct end){.state = END_PENDING, .home = (uint8_t)shard_b, .inbox = inboxes[2 * channel + 1]};
}

/* Opens the ends of a shard that starts or starts again, and gives it their capabilities: the handles count from 0 in
 * manifest order. Nothing waits there for a shard that starts again; what its last life has sent is still its
 * peers'. */
void channels_open(uint32_t home) {
	for (uint32_t e = 0; e < 2 * manifest.channel_count; e++) {
		struct end *end = &ends[e];
		if (end->home != home) continue;
		end->state = END_OPEN;
		if (ABLATE(lost)) ends[e ^ 1].count = 0;
		cap_give_first(home, CAP_CHANNEL, CAP_RIGHT_SEND | CAP_RIGHT_RECV | CAP_RIGHT_GRANT, e);
		interrupt_point();
	}
}

/* Returns the handle that a shard of the manifest has for its end of the channel. */
uint32_t channel_handle(uint32_t home, uint32_t channel) {
	uint32_t handle = 0;

	for (uint32_t e = 0; e < 2 * channel; e++)
		handle += ends[e].home == home;
	return handle;
}

/* Frees `end` from the CALL that waits there if no answer can come any more, now that the other end has closed: the
 * caller has yet to send its request, or its inbox is empty. */
static void forget_caller(struct end *end) {
	if (end->caller && (end->caller->wait == WAIT_SEND || !end->count) && !ABLATE(call_over)) end->caller = NULL;
}

/* Closes the ends of a shard that dies or cannot start. Messages it has sent stay to be received; those to it are
 * wiped. */
void channels_close(struct shard *shard) {
	for (uint32_t e = 0; e < 2 * manifest.channel_count; e++) {
		struct end *end = &ends[e], *other = &ends[e ^ 1];
		if (end->home != shard->id) continue;
		end->state = END_CLOSED;
		end->closings++;
		if (!ABLATE(zeroing)) end->first = end->count = 0;
		if (!ABLATE(zeroing)) memset(inboxes[e], 0, sizeof(inboxes[e]));
		if (!ABLATE(call_over)) end->caller = NULL; /* another holder of this end, who is about to lose its capability */
		forget_caller(other);
		sched_wake_all(&end->senders, -COCONUT_E_CLOSED);
		sched_wake_all(&end->receivers, -COCONUT_E_CLOSED);
		if (!ABLATE(close_wakes)) sched_wake_all(&other->receivers, -COCONUT_E_CLOSED);
		preempt_point();
	}
}

/* A shard that is killed comes back from no CALL: the end is free at once, whether the shard gets to run or not. */
void channel_call_over(const struct shard *shard) {
	for (uint32_t e = 0; e < 2 * manifest.channel_count; e++)
		if (ends[e].caller == shard && !ABLATE(call_over)) ends[e].caller = NULL;
}

/* Likewise for one whose capability is just being revoked, if it is the one that its CALL goes through. */
void channel_cap_gone(struct shard *holder, const struct capability *cap) {
	struct end *end = &ends[cap->resource];

	if (end->caller == holder && cap_is_of_call(cap, holder) && !ABLATE(call_over)) end->caller = NULL;
}

/* Returns the slot of the shard that is at an end, or will be as soon as it has started; -1 when the end is closed. */
int channel_home(uint32_t e) { return ends[e].state == END_CLOSED ? -1 : ends[e].home; }

/* ---- The calls ---- */

/* CAP_GRANT: gives the shard at the other end of `channel` a copy of `handle` with a subset of its rights.
 * Returns the handle that the copy has there. */
int64_t sys_cap_grant(uint64_t handle, uint64_t channel, uint64_t rights) {
	int64_t error;
	const struct capability *cap = cap_use(1, handle, 0, ABLATE(grant) ? 0 : CAP_RIGHT_GRANT, &error);
	const struct capability *way = cap ? cap_use(2, channel, CAP_CHANNEL, CAP_RIGHT_SEND, &error) : NULL;

	if (!way) return error;
	if (rights == 0) return refuse(-COCONUT_E_INVAL, 3, rights, "there are no rights to grant");
	if (rights & ~(uint64_t)cap->rights)
		return refuse(-COCONUT_E_RIGHTS, 3, rights, "the capability has not all of these rights");
	const struct end *other = &ends[way->resource ^ 1];
	if (other->state != END_OPEN) return refuse(-COCONUT_E_CLOSED, 2, channel, "nobody is at the other end");
	if (other->home == current->id) return refuse(-COCONUT_E_INVAL, 2, channel, "the other end is the shard's own");
	int granted = cap_copy(&caps, (uint32_t)(cap - caps.entry), other->home, (uint8_t)rights);
	return granted < 0 ? refuse(granted, 2, channel, "the other shard has no slot left for grants") : granted;
}

/* Returns the channel end that `handle` names with the given rights, or the refusal. */
static int64_t end_of(uint64_t handle, uint8_t rights) {
	int64_t error;
	const struct capability *cap = cap_use(1, handle, CAP_CHANNEL, ABLATE(endpoint) ? 0 : rights, &error);

	return cap ? cap->resource : error;
}

/* Blocks the current shard at end `e`, which it holds, at the tail of a list. */
static void wait_on(struct shard **list, enum wait_kind kind, uint32_t e) {
	ASSERT(cap_held()); /* or nobody would ever end the wait */
	current->wait_closings = ends[e ^ 1].closings;
	sched_wait(list, kind, (uint16_t)e);
}

/* Returns how the wait of the current shard at end `e` has ended: with a refusal, with 0 to look again, or with the
 * length of a message that the fast path of CALL has put into the offered buffer. A shard that was woken to look again
 * may have lost its capability or its peer before it came to run; one that was killed takes and sends nothing. */
static int64_t wait_end(uint64_t handle, uint32_t e) {
	int64_t result = current->wait_result;
	bool answered = current->wait == WAIT_RECV && ends[e].count;

	if (current->killed) return COCONUT_KILLED;
	if (result == 0 && !cap_held()) result = -COCONUT_E_BADHANDLE;
	if (result == 0 && ends[e ^ 1].closings != current->wait_closings && !answered) result = -COCONUT_E_CLOSED;
	if (result >= 0) return result;
	return refuse((int)result, 1, handle,
		      result == -COCONUT_E_CLOSED ? "an end of the channel closed while waiting"
		      : result == -COCONUT_E_BUSY ? "another holder of this end began a CALL"
						  : "the capability was taken away while waiting");
}

/* Queues the message for the other side of end `e`, waiting for room. `calls`: the sender is about to wait for the
 * answer, so the first receiver gets the rest of the sender's turn. The caller has checked `buf` and `len`. Returns 0
 * or the refusal. */
static int64_t send(uint64_t handle, uint32_t e, uint64_t buf, uint64_t len, bool calls) {
	struct end *other = &ends[e ^ 1];

	while (other->state != END_CLOSED && other->count == INBOX && !ABLATE(room)) {
		wait_on(&other->senders, WAIT_SEND, e);
		int64_t error = wait_end(handle, e);
		if (error) return error;
	}
	if (other->state == END_CLOSED) return refuse(-COCONUT_E_CLOSED, 1, handle, "the other end is closed");

	struct message *message = &other->inbox[(other->first + other->count++) % INBOX];
	copy_from_user(message->bytes, buf, len);
	message->len = len;
	if (calls && other->receivers) sched_hand_over(other->receivers, 0);
	sched_wake_all(&other->receivers, 0);
	return 0;
}

/* Waits for a message at end `e` and takes it. Returns its length or an error; a message that is larger than
 * `max` stays. */
static int64_t receive(uint64_t handle, uint32_t e, uint64_t buf, uint64_t max) {
	struct end *end = &ends[e];

	for (;;) {
		if (end->caller && end->caller != current && !ABLATE(claim))
			return refuse(-COCONUT_E_BUSY, 1, handle, "another holder of this end is in a CALL");
		if (end->count) break;
		if (ends[e ^ 1].state == END_CLOSED || end->state == END_CLOSED)
			return refuse(-COCONUT_E_CLOSED, 1, handle, "an end of the channel is closed");
		user_offer(buf, max);
		wait_on(&end->receivers, WAIT_RECV, e);
		int64_t result = wait_end(handle, e);
		if (result) return result;
	}

	struct message *message = &end->inbox[end->first];
	uint64_t len = message->len;
	if (len > max && !ABLATE(fits))
		return refuse(-COCONUT_E_TOOSMALL, current->call == SYS_CHANNEL_CALL ? 5 : 3, max,
			      "the message is larger than the buffer and stays queued");
	copy_to_user(buf, message->bytes, len);
	end->first = (end->first + 1) % INBOX;
	end->count--;
	if (end->senders) sched_wake_all(&end->senders, 0);
	return (int64_t)len;
}

/* Checks the message of a call, arguments 2 and 3. Returns 0 or the refusal. */
static int64_t check_message(uint64_t buf, uint64_t len) {
	if ((len == 0 || len > COCONUT_MESSAGE_MAX) && !ABLATE(lengths))
		return refuse(-COCONUT_E_INVAL, 3, len, "the length is not 1 to 256 bytes");
	return user_readable(buf, len) ? 0 : refuse(-COCONUT_E_FAULT, 2, buf, "the buffer is not wholly mapped");
}

/* Checks the buffer for a message: `buf` is argument number `argument`, `max` the next. Returns 0 or the refusal. */
static int64_t check_buffer(int argument, uint64_t buf, uint64_t max) {
	if (max == 0) return refuse(-COCONUT_E_INVAL, argument + 1, max, "the buffer has no room for a message");
	if (!user_range(buf, max) || !user_writable(buf, max < COCONUT_MESSAGE_MAX ? max : COCONUT_MESSAGE_MAX))
		return refuse(-COCONUT_E_FAULT, argument, buf, "the buffer is not wholly mapped and writable");
	return 0;
}

/* CHANNEL_SEND: queues a message; waits while the queue is full. */
int64_t sys_channel_send(uint64_t handle, uint64_t buf, uint64_t len) {
	int64_t e = end_of(handle, CAP_RIGHT_SEND), bad = e < 0 ? e : check_message(buf, len);

	return bad ? bad : send(handle, (uint32_t)e, buf, len, false);
}

/* CHANNEL_RECV: waits for a message and takes it. Returns its length. */
int64_t sys_channel_recv(uint64_t handle, uint64_t buf, uint64_t max) {
	int64_t e = end_of(handle, CAP_RIGHT_RECV), bad = e < 0 ? e : check_buffer(2, buf, max);

	return bad ? bad : receive(handle, (uint32_t)e, buf, max);
}

/* CHANNEL_CALL, where call.c has no short way: sends, then waits at the same end for the answer, with nobody else
 * receiving there. After an error the message may have been sent. */
int64_t call_slowly(uint64_t handle, uint64_t buf, uint64_t len, uint64_t reply, uint64_t max) {
	int64_t e = end_of(handle, CAP_RIGHT_SEND | CAP_RIGHT_RECV), result;

	if (e < 0) return e;
	if ((result = check_message(buf, len)) || (result = check_buffer(4, reply, max))) return result;
	struct end *end = &ends[e];
	if (end->caller) return refuse(-COCONUT_E_BUSY, 1, handle, "another holder of this end is in a CALL");
	end->caller = current;
	if (end->receivers) sched_wake_all(&end->receivers, -COCONUT_E_BUSY);
	result = send(handle, (uint32_t)e, buf, len, true);
	if (result == 0) result = receive(handle, (uint32_t)e, reply, max);
	/* It may be another's by now: the loss of a capability frees the end. */
	if (end->caller == current) end->caller = NULL;
	return result;
}

/* Continues a CALL that took the fast path and was woken without an answer in its buffer. */
int64_t call_woken(void) {
	struct shard *self = current;
	struct end *end = (struct end *)((char *)self->wait_list - offsetof(struct end, receivers));
	uint32_t e = (uint32_t)(end - ends);
	uint64_t handle = (uint64_t)(self->held - self->caps);
	int64_t result = wait_end(handle, e);

	if (result == 0) result = receive(handle, e, self->known.receive_buf, self->known.receive_max);
	if (end->caller == self) end->caller = NULL;
	return result;
}
