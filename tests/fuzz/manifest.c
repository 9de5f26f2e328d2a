/*
 * Fuzz target: no manifest makes the parser leave the text, and what it accepts is within the limits of manifest.h.
 *
 * SOURCES: manifest.c
 * PLANT: if (p->words == MAX_WORDS)
 * INTO: if (0)
 */
#include "manifest.h"
#define COCONUT_NO_CALLS
#include "coconut.h"
#include "fuzz.h"

/* Returns the length of a string of the result, which must lie in the text with its NUL. */
static size_t string_in(const char *text, size_t len, const char *string) {
	REQUIRE(string >= text && string <= text + len);
	return strlen(string);
}

/* Checks everything that main.c relies on. */
static void check(const char *text, size_t len, const struct manifest *m) {
	REQUIRE(m->shard_count <= MANIFEST_SHARDS && m->channel_count <= MANIFEST_CHANNELS);
	REQUIRE(m->pipeline_count <= MANIFEST_PIPELINES);
	for (uint32_t i = 0; i < m->shard_count; i++) {
		const struct manifest_shard *shard = &m->shard[i];
		size_t name = string_in(text, len, shard->name), path = string_in(text, len, shard->path);
		REQUIRE(name >= 1 && name <= MANIFEST_NAME_MAX && path >= 1 && path <= COCONUT_PATH_MAX);
		REQUIRE(strlen(shard->args) < COCONUT_ARGS_MAX && shard->path[0] == '/');
		REQUIRE(shard->priority <= PRIORITY_LOW && shard->after < (int)i && shard->after >= -1);
		REQUIRE(shard->frames >= 1 && shard->frames <= MANIFEST_FRAMES_MAX && shard->restart <= MANIFEST_RESTART_MAX);
		REQUIRE(shard->pipeline >= -1 && shard->pipeline < (int)m->pipeline_count);
	}
	for (uint32_t i = 0; i < m->channel_count; i++) {
		const uint8_t *end = m->channel[i].shard;
		REQUIRE(end[0] < m->shard_count && end[1] < m->shard_count && end[0] != end[1]);
	}
	for (uint32_t i = 0; i < m->pipeline_count; i++) {
		const struct manifest_pipeline *pipeline = &m->pipeline[i];
		REQUIRE(pipeline->shard[0] != pipeline->shard[1] && pipeline->channel < m->channel_count);
		REQUIRE(pipeline->first[1] == pipeline->last[0] + 1 && pipeline->last[1] >= pipeline->first[1]);
	}
}

/* The bytes are the manifest. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct manifest *m = malloc(sizeof(*m));
	struct manifest_error error;
	char *text = malloc(size + 1);

	memcpy(text, data, size);
	if (manifest_parse(text, size, m, &error) == 0) {
		check(text, size, m);
	} else {
		REQUIRE(error.line >= 1 && error.reason != NULL);
		if (error.word != NULL) string_in(text, size, error.word);
	}
	free(text);
	free(m);
	return 0;
}
