/*
 * channel.c: messages between shards: SEND, RECV, CALL, and what the end of a shard means for them.
 *
 * Each end has a queue: a sequence of at most QUEUE messages that were sent from the other end. While a shard is in
 * a CALL at an end (it is the end's caller), nobody else receives there.
 *
 * CHOICE: whether a message goes by the queue, or at once to who sleeps in a RECV for it: nobody can tell the two
 * apart.
 *
 * Read next: life.c.
 */
#include "spec.h"

/* The end that a call goes through. */
int spec_end(const struct call *call) { return spec_cap(call->cap)->object; }

/* ---- Arguments ---- */

static int64_t check_message(const struct life *me, uint64_t buf, uint64_t len) {
	if (len == 0 || len > COCONUT_MESSAGE_MAX) return -COCONUT_E_INVAL;
	return spec_readable(me, buf, len) ? 0 : -COCONUT_E_FAULT;
}

/* A buffer may be larger than a message: what no message reaches has to lie in the address space, but not to be
 * mapped. */
static int64_t check_buffer(const struct life *me, uint64_t buf, uint64_t max) {
	if (max == 0) return -COCONUT_E_INVAL;
	if (!spec_inside(buf, max)) return -COCONUT_E_FAULT;
	return spec_writable(me, buf, max < COCONUT_MESSAGE_MAX ? max : COCONUT_MESSAGE_MAX) ? 0 : -COCONUT_E_FAULT;
}

/* ---- SEND, RECV ---- */

/* What ends a wait before anything else is looked at: an error that ended the sleep; the loss of the capability. */
static int64_t lost(const struct call *call) {
	return call->told ? call->told : spec_held(call->cap) ? 0 : -COCONUT_E_BADHANDLE;
}

static int64_t sending(const struct call *call) {
	if (lost(call)) return lost(call);
	const struct end *other = &world.end[spec_end(call) ^ 1];
	if (call->closed || other->state == CLOSED) return -COCONUT_E_CLOSED;
	return other->queued == QUEUE ? WAITS : 0;
}

static int64_t receiving(const struct life *me, uint64_t max) {
	const struct call *call = &me->call;

	if (lost(call)) return lost(call);
	const struct end *mine = &world.end[spec_end(call)], *other = &world.end[spec_end(call) ^ 1];
	if (call->closed && !mine->queued) return -COCONUT_E_CLOSED;
	if (mine->caller != NOBODY && mine->caller != me->slot) return -COCONUT_E_BUSY;
	if (mine->queued) return mine->queue[0].len > max ? -COCONUT_E_TOOSMALL : (int64_t)mine->queue[0].len;
	return mine->state == CLOSED || other->state == CLOSED ? -COCONUT_E_CLOSED : WAITS;
}

int64_t look_send(const struct life *me) {
	int64_t error = check_message(me, me->call.arg[1], me->call.arg[2]);

	return error ? error : sending(&me->call);
}

/* The message is the newest at the other end. Its content is given to the specification by whoever plays it. */
void act_send(struct life *me, int64_t result) {
	struct end *other;

	if (result < 0 && result != HALFWAY) return;
	other = &world.end[spec_end(&me->call) ^ 1];
	other->queue[other->queued++] = (struct message){.len = me->call.arg[2]};
}

int64_t look_recv(const struct life *me) {
	int64_t error = check_buffer(me, me->call.arg[1], me->call.arg[2]);

	return error ? error : receiving(me, me->call.arg[2]);
}

/* The oldest message is taken. */
void act_recv(struct life *me, int64_t result) {
	struct end *mine;

	if (result < 0) return;
	mine = &world.end[spec_end(&me->call)];
	mine->queued--;
	for (int i = 0; i < mine->queued; i++)
		mine->queue[i] = mine->queue[i + 1];
}

/* ---- CALL ---- */

/* CALL: a SEND, and then a RECV at the same end, which is kept for the caller from the first moment on. */
int64_t look_call(const struct life *me) {
	const struct call *call = &me->call;
	int64_t error;

	if (call->halfway) return receiving(me, call->arg[4]);
	if ((error = check_message(me, call->arg[1], call->arg[2]))) return error;
	if ((error = check_buffer(me, call->arg[3], call->arg[4]))) return error;
	if (!call->begun && !spec_held(call->cap)) return -COCONUT_E_BADHANDLE;
	if (!call->begun && world.end[spec_end(call)].caller != NOBODY) return -COCONUT_E_BUSY;
	error = sending(call);
	return error == 0 ? HALFWAY : error;
}

/* The end is kept for the answer. Who sleeps in a RECV there is told. */
void spec_call_begin(struct life *me) {
	int end = spec_end(&me->call);

	if (me->call.begun) return;
	me->call.begun = true;
	world.end[end].caller = me->slot;
	for EACH_LIFE (life) {
		struct call *call = &life->call;
		bool receives = life->asleep && call->number == SYS_CHANNEL_RECV && spec_held(call->cap);
		if (receives && spec_end(call) == end && !call->told) call->told = -COCONUT_E_BUSY;
	}
}

void act_call(struct life *me, int64_t result) {
	if (result == HALFWAY) {
		spec_call_begin(me);
		act_send(me, result);
		me->call.halfway = true;
		return;
	}
	if (me->call.begun) spec_call_over(me->slot);
	act_recv(me, result);
}

/* The shard is in no CALL any more: it has its answer, or it will not come back from it. It is so at once when it is
 * killed, and when its capability is gone, whether the shard gets to run or not. */
void spec_call_over(int slot) {
	for (int e = 0; e < world.ends; e++)
		if (world.end[e].caller == slot) world.end[e].caller = NOBODY;
}

/* ---- The life of the shard at home ---- */

/* A shard of the manifest starts, or starts again: its ends open, and it gets a capability for each, then, if it may
 * SPAWN, the one for that: its handles count from 0 in this order. */
void spec_open(int home) {
	for (int e = 0; e < world.ends; e++) {
		if (world.end[e].home != home) continue;
		world.end[e].state = OPEN;
		spec_give(home, CAP_CHANNEL, e, CAP_RIGHT_SEND | CAP_RIGHT_RECV | CAP_RIGHT_GRANT, 0);
	}
	if (world.line[home].spawn) spec_give(home, CAP_SHARD, home, CAP_RIGHT_CREATE | CAP_RIGHT_GRANT, 0);
}

/* A shard dies, and one of its ends closes. What was sent to it is gone, what it has sent stays. A CALL at this end
 * is over, and one at the other end, unless its answer is there already. Who sleeps at one of the two ends, to
 * receive there or to send to this one, is told; who was woken there and has not looked yet will find out. */
void spec_close(int end) {
	struct end *closing = &world.end[end], *other = &world.end[end ^ 1];

	closing->state = CLOSED;
	closing->queued = 0;
	closing->caller = NOBODY;
	if (other->caller != NOBODY && (!world.life[other->caller].call.halfway || !other->queued)) other->caller = NOBODY;
	for EACH_LIFE (life) {
		struct call *call = &life->call;
		bool sends = call->number == SYS_CHANNEL_SEND || (call->number == SYS_CHANNEL_CALL && !call->halfway);
		bool receives = call->number == SYS_CHANNEL_RECV || (call->number == SYS_CHANNEL_CALL && call->halfway);
		if (!call->waiting || !(sends || receives) || !spec_cap(call->cap)) continue;
		bool here = spec_end(call) == end, there = spec_end(call) == (end ^ 1);
		if (life->asleep && !call->told && (there || (here && receives))) call->told = -COCONUT_E_CLOSED;
		if (there) call->closed = true;
	}
}
