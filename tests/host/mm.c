/*
 * Tests of the frame map of mm.c: by hand at the borders of its words, and at random against an array of booleans.
 *
 * The rest of mm.c talks to the machine and is not called here, so what it refers to may stay unresolved.
 *
 * OPTIONS: -no-pie -Wl,--unresolved-symbols=ignore-all
 */
#include "../../mm.c"
#include "check.h"

#define MAX_FRAMES (64 * 64 * 3)

static struct frame_map map;
static uint64_t *words;

/* Makes an empty map in a block of exactly the size that frame_map_words asks for. */
static void make(uint64_t frames) {
	free(words);
	words = malloc(frame_map_words(frames) * sizeof(*words));
	memset(words, 0xA5, frame_map_words(frames) * sizeof(*words));
	frame_map_init(&map, words, frames);
}

static int64_t take(void) {
	bool clean;

	return frame_map_take(&map, &clean);
}

TEST(empty_map_has_nothing) {
	for (uint64_t frames = 64; frames <= MAX_FRAMES; frames += 64) {
		make(frames);
		CHECK_EQ(map.free_count, 0);
		CHECK_EQ(take(), -1);
	}
}

TEST(lowest_frame_first) {
	make(256);
	frame_map_release(&map, 60, 10);
	for (int frame = 60; frame < 70; frame++)
		CHECK_EQ(take(), frame);
	CHECK_EQ(take(), -1);
	frame_map_give(&map, 65);
	frame_map_give(&map, 3);
	CHECK_EQ(take(), 3);
	CHECK_EQ(take(), 65);
	CHECK_EQ(take(), -1);
}

TEST(every_frame_once) {
	static const uint64_t sizes[] = {64, 128, 64 * 63, 64 * 64, 64 * 65, MAX_FRAMES};

	for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
		make(sizes[i]);
		frame_map_release(&map, 0, sizes[i]);
		CHECK_EQ(map.free_count, sizes[i]);
		for (uint64_t frame = 0; frame < sizes[i]; frame++)
			CHECK_EQ(take(), frame);
		CHECK_EQ(take(), -1);
		CHECK_EQ(map.free_count, 0);
	}
}

TEST(clean_from_the_second_time_on) {
	bool clean = true;

	make(64);
	frame_map_release(&map, 5, 1);
	CHECK_EQ(frame_map_take(&map, &clean), 5);
	CHECK(!clean);
	frame_map_give(&map, 5);
	CHECK_EQ(frame_map_take(&map, &clean), 5);
	CHECK(clean);
}

TEST(ranges_end_with_the_map) {
	make(128);
	frame_map_release(&map, 120, 1000);
	CHECK_EQ(map.free_count, 8);
	frame_map_release(&map, 128, 1);
	frame_map_release(&map, 1UL << 52, ~0UL);
	CHECK_EQ(map.free_count, 8);
	frame_map_reserve(&map, 126, ~0UL);
	CHECK_EQ(map.free_count, 6);
	frame_map_reserve(&map, 1UL << 52, 1);
	CHECK_EQ(map.free_count, 6);
}

TEST(release_and_reserve_twice) {
	make(64 * 65);
	frame_map_release(&map, 100, 50);
	frame_map_release(&map, 120, 50);
	CHECK_EQ(map.free_count, 70);
	frame_map_reserve(&map, 90, 20);
	frame_map_reserve(&map, 90, 20);
	CHECK_EQ(map.free_count, 60);
	CHECK_EQ(take(), 110);
}

/* Compares the map with the model after a random operation. */
static void step(bool *is_free, bool *was_used, uint64_t frames) {
	uint64_t frame = (uint64_t)rand() % frames, count = (uint64_t)rand() % 40;

	switch (rand() % 4) {
	case 0:
		frame_map_release(&map, frame, count);
		for (uint64_t i = frame; i < frame + count && i < frames; i++)
			is_free[i] = true;
		break;
	case 1:
		frame_map_reserve(&map, frame, count);
		for (uint64_t i = frame; i < frame + count && i < frames; i++)
			is_free[i] = false;
		break;
	case 2:
		if (!is_free[frame]) frame_map_give(&map, frame);
		is_free[frame] = true;
		break;
	default: {
		bool clean = false;
		int64_t got = frame_map_take(&map, &clean), lowest = 0;
		while ((uint64_t)lowest < frames && !is_free[lowest])
			lowest++;
		CHECK_EQ(got, (uint64_t)lowest == frames ? -1 : lowest);
		if (got >= 0) {
			CHECK_EQ(clean, was_used[got]);
			is_free[got] = false;
			was_used[got] = true;
		}
	}
	}
}

TEST(random_operations) {
	static bool is_free[MAX_FRAMES], was_used[MAX_FRAMES];
	int steps = getenv("TEST_FULL") && *getenv("TEST_FULL") ? 1000000 : 20000;

	for (int seed = 1; seed <= 5; seed++) {
		uint64_t frames = 64 * (1 + (uint64_t)seed * 31 % 130);
		srand((unsigned)seed);
		make(frames);
		memset(is_free, 0, sizeof(is_free));
		memset(was_used, 0, sizeof(was_used));
		for (int i = 0; i < steps && !check_failures; i++) {
			uint64_t count = 0;
			step(is_free, was_used, frames);
			for (uint64_t frame = 0; i % 64 == 0 && frame < frames; frame++)
				count += is_free[frame];
			if (i % 64 == 0) CHECK_EQ(map.free_count, count);
		}
	}
}

int main(void) {
	RUN(empty_map_has_nothing);
	RUN(lowest_frame_first);
	RUN(every_frame_once);
	RUN(clean_from_the_second_time_on);
	RUN(ranges_end_with_the_map);
	RUN(release_and_reserve_twice);
	RUN(random_operations);
	return check_result();
}
