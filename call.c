/*
 * call.c: the fast path of CALL.
 *
 * A client that asks and a server that answers take turns. Where a CALL meets just that, its message is copied from
 * buffer to buffer, through the kernel's view of the receiver's page, and the receiver runs at once, without inbox and
 * queues. What CALL means, channel.c says; where a condition here is not met, channel.c's call_slowly does the work.
 *
 * Invariant: before the point of no return nothing has happened, but for the offer of the buffer, which call_slowly
 * makes anew; what happens after it has the effect of call_slowly.
 * The receiver is woken with its message and has the rest of this shard's turn, which the tick ends as it ends any
 * other; this shard waits.
 *
 * Read next: acpi.h.
 */
#include "kernel.h"

/* What a CALL needs of a capability: its type and two rights, which lie side by side, so that one comparison does. */
#define FOR_CALL (CAP_CHANNEL | (CAP_RIGHT_SEND | CAP_RIGHT_RECV) << 8)

/* CHANNEL_CALL: sends, then waits at the same end for the answer, with nobody else receiving there. */
int64_t sys_channel_call(uint64_t handle, uint64_t buf, uint64_t len, uint64_t reply, uint64_t max) {
	struct shard *self = current;
	const struct capability *cap = &self->caps[handle]; /* looked into only when the handle has been checked */

	if (PLAIN) goto slowly;
	/* The handle is one of the shard's slots. */
	if (handle >= COCONUT_CAP_SLOTS) goto slowly;
	/* It names a channel, with the rights to send the message and to receive the answer. */
	if (((cap->type | cap->rights << 8) & (0xFF | FOR_CALL)) != FOR_CALL) goto slowly;
	/* The message has 1 to 256 bytes, which the shard may read. */
	if (len - 1 >= COCONUT_MESSAGE_MAX) goto slowly;
	if (!user_readable(buf, len)) goto slowly;
	/* The buffer for the answer has room; it is the one that was offered last, or can be offered. */
	if (max == 0) goto slowly;
	if ((reply != self->known.receive_buf || max != self->known.receive_max) && !user_offer(reply, max)) goto slowly;

	struct end *end = &ends[cap->resource], *other = other_end(end);
	struct shard *peer = other->receivers;
	/* One shard waits at the other end, so it is the one that gets the message. */
	if (!peer || peer->next) goto slowly;
	/* It has offered a buffer with room for the message. */
	if (peer->known.receive_max < len) goto slowly;
	/* It still holds what it waits through: a revocation may be on its way to it. */
	if (peer->held->type != CAP_CHANNEL && !ABLATE(fast_held)) goto slowly;
	/* The answer comes to this shard: nobody is in a CALL at this end, nobody waits here, and nothing has come before. */
	if (end->caller || end->receivers || end->count) goto slowly;
	/* Nobody more urgent than the receiver is ready to run. Equals are passed by: it works for this shard. */
	if (ready_mask & peer->betters && !ABLATE(rank)) goto slowly;

	/* The point of no return: this shard waits for its answer, the receiver has its message. */
	self->state = SHARD_BLOCKED;
	self->wait = WAIT_RECV;
	self->wait_object = cap->resource;
	self->wait_list = &end->receivers;
	self->held = cap;
	self->held_serial = cap->serial;
	end->caller = end->receivers = self;
	other->caller = other->receivers = NULL;
	peer->turn_left = self->turn_left;
	peer->wait_result = (int64_t)len;
	copy_across(peer->known.receive_at, buf, len);
	leave_call(self, peer, rdtsc_low());
	return self->wait_result > 0 ? self->wait_result : call_woken();

slowly:
	return call_slowly(handle, buf, len, reply, max);
}
