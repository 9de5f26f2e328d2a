/*
 * manifest.c: parses the boot manifest in place.
 *
 * Each line is first split into words, which is also where quotes and comments end, and then handed to the function
 * of its first word. The end of each word is overwritten with a NUL, so that names, paths and arguments stay where
 * they are and nothing is copied. Invariants: nothing is read or written outside the text and the one byte after
 * it; every index in the result is smaller than the count it belongs to; the first mistake ends the work and is
 * reported with its line, a reason and the word that caused it.
 *
 * Read next: cap.c. manifest.h has the grammar, supervisor.c what is done with the result.
 */
#include "manifest.h"

#define COCONUT_NO_CALLS
#include "coconut.h"

int memcmp(const void *a, const void *b, size_t len); /* the supervisor's own; libc's in the host tests */
size_t strlen(const char *s);

struct manifest manifest;

#define MAX_WORDS 16 /* of a line; no correct one has more than 9 */

/* What the functions share. It lives on the stack of manifest_parse, so there is no state from one call to the next. */
struct parser {
	char *word[MAX_WORDS]; /* the words of the line, each ended by a NUL */
	uint32_t words;
	struct manifest *m;
	struct manifest_error *error; /* error->line is the current one */
};

/* Returns `good`. When it is false, records the mistake: the functions up to manifest_parse then return false too. */
static bool must(struct parser *p, bool good, const char *reason, const char *word) {
	if (!good) *p->error = (struct manifest_error){.line = p->error->line, .reason = reason, .word = word};
	return good;
}

/* Returns whether two strings are equal. */
static bool same(const char *a, const char *b) { return strlen(a) == strlen(b) && memcmp(a, b, strlen(a)) == 0; }

/* Returns the index of the first of `count` strings that equals `word`, or `count`. */
static uint32_t find_word(const char *word, const char *const strings[], uint32_t count) {
	uint32_t i = 0;
	while (i < count && !same(word, strings[i]))
		i++;
	return i;
}

/* Returns whether a byte separates words. */
static bool is_blank(char c) { return c == ' ' || c == '\t'; }

/* Takes the word at *line off the line and appends it to p->word. Between quotes a blank or a # is part of the word
 * and \" and \\ stand for their second character. A word without its quotes and backslashes is never longer than it
 * was with them, so it is moved to its own beginning. *line then is the first byte behind. Returns whether the word
 * was right. */
static bool take_word(struct parser *p, char **line) {
	char *from = *line, *to = *line;
	bool quoted = false;
	for (; *from != '\0' && (quoted || !is_blank(*from)); from++) {
		if (*from == '"') {
			/* Without this check args="x"frames=9 would quietly lose an option to the arguments. */
			if (!must(p, !quoted || from[1] == '\0' || is_blank(from[1]),
				  "a blank is missing after the closing quote", from + 1))
				return false;
			quoted = !quoted;
			continue;
		}
		if (quoted && *from == '\\' && from[1] != '"' && from[1] != '\\')
			return must(p, false, "a backslash in quotes can only precede a quote or a backslash", from);
		if (quoted && *from == '\\') from++;
		*to++ = *from;
	}
	p->word[p->words++] = *line;
	*line = *from == '\0' ? from : from + 1;
	*to = '\0';
	return must(p, !quoted, "the closing quote is missing", p->word[p->words - 1]);
}

/* Splits a line, which ends with a NUL, into p->word, up to a comment. Returns whether all words were right. */
static bool split_line(struct parser *p, char *line) {
	p->words = 0;
	for (;;) {
		while (is_blank(*line))
			line++;
		if (*line == '\0' || *line == '#') return true;
		if (p->words == MAX_WORDS) return must(p, false, "the line has too many words", line);
		if (!take_word(p, &line)) return false;
	}
}

/* Reads the decimal number at *s, at most `max`, and moves *s behind it. Returns whether there was one. */
static bool read_number(const char **s, uint32_t max, uint32_t *number) {
	const char *start = *s;
	uint64_t value = 0; /* stays below 10 * max + 10, so it cannot wrap */
	for (; **s >= '0' && **s <= '9' && value <= max; (*s)++)
		value = value * 10 + (uint64_t)(**s - '0');
	*number = (uint32_t)value;
	return *s != start && value <= max;
}

/* Reads a value that is nothing but a number from `min` to `max`. */
static bool parse_number(struct parser *p, const char *value, uint32_t min, uint32_t max, uint32_t *number) {
	const char *end = value;
	return must(p, read_number(&end, max, number) && *end == '\0' && *number >= min,
		    "this is no number, or one out of range", value);
}

/* Returns the index of the shard of that name among those declared so far, or -1. */
static int find_shard(const struct manifest *m, const char *name) {
	for (uint32_t i = 0; i < m->shard_count; i++)
		if (same(m->shard[i].name, name)) return (int)i;
	return -1;
}

/* Returns the index of the declared shard that `name` means. If there is none, records the mistake and returns -1. */
static int refer_to_shard(struct parser *p, const char *name) {
	int index = find_shard(p->m, name);
	must(p, index >= 0, "no earlier line declares a shard of this name", name);
	return index;
}

/* Finds the two different shards that the words after the statement's name mean. */
static bool refer_to_two_shards(struct parser *p, uint8_t shard[2]) {
	for (int i = 0; i < 2; i++) {
		int index = refer_to_shard(p, p->word[1 + i]);
		if (index < 0) return false;
		shard[i] = (uint8_t)index;
	}
	return must(p, shard[0] != shard[1], "the two shards have to be different", p->word[2]);
}

/* Returns whether a shard may have this name: one that needs no quotes, in the manifest or on the console. */
static bool name_valid(const char *name) {
	size_t len = 0;
	for (char c; (c = name[len]) != '\0'; len++)
		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9')
		    && c != '_' && c != '.' && c != '-')
			return false;
	return len >= 1 && len <= MANIFEST_NAME_MAX;
}

/* Sets the option `name` of a shard. `seen` has a bit for each option that the line had before. Fails when there is no
 * such option, when it is there again, and when it cannot have that value. */
static bool set_option(struct parser *p, struct manifest_shard *shard, const char *name, const char *value,
	uint32_t *seen) {
	enum { OPTION_PRIORITY, OPTION_FRAMES, OPTION_RESTART, OPTION_AFTER, OPTION_SPAWN, OPTION_ARGS, OPTIONS };
	static const char *const names[OPTIONS] = {"priority", "frames", "restart", "after", "spawn", "args"};
	/* in the order of PRIORITY_..., so that an index is a priority */
	static const char *const priorities[] = {"critical", "high", "normal", "low"};
	uint32_t option = find_word(name, names, OPTIONS);
	if (!must(p, option < OPTIONS, "a shard has no such option", name)
	    || !must(p, !(*seen & 1U << option), "the option stands twice in the line", name))
		return false;
	*seen |= 1U << option;
	switch (option) {
	case OPTION_PRIORITY:
		shard->priority = (uint8_t)find_word(value, priorities, 4);
		return must(p, shard->priority <= PRIORITY_LOW, "a priority is critical, high, normal or low", value);
	case OPTION_FRAMES:
		return parse_number(p, value, 1, MANIFEST_FRAMES_MAX, &shard->frames);
	case OPTION_RESTART:
		return parse_number(p, value, 0, MANIFEST_RESTART_MAX, &shard->restart);
	case OPTION_AFTER:
		shard->after = (int16_t)refer_to_shard(p, value);
		return shard->after >= 0;
	case OPTION_SPAWN:
		shard->spawn = true;
		if (same(value, "yes")) return true;
		return must(p, value[0] >= '0' && value[0] <= '9', "spawn is yes or a number of shards", value) &&
		       parse_number(p, value, 1, MANIFEST_SHARDS, &shard->children);
	default: /* OPTION_ARGS */
		shard->args = value;
		return must(p, strlen(value) < COCONUT_ARGS_MAX, "the arguments are too long", value);
	}
}

/* shard NAME PATH and options, in any order, each at most once. */
static bool parse_shard(struct parser *p) {
	struct manifest *m = p->m;
	const char *name = p->word[1], *path = p->word[2]; /* parse_line has counted the words */
	if (!must(p, name_valid(name), "a name has 1 to 23 letters, digits, points, hyphens or underscores", name)
	    || !must(p, find_shard(m, name) < 0, "an earlier line declares a shard of this name", name)
	    || !must(p, path[0] == '/' && strlen(path) <= COCONUT_PATH_MAX,
		     "a path starts with a slash and has at most 255 bytes", path)
	    || !must(p, m->shard_count < MANIFEST_SHARDS, "there are too many shards", name))
		return false;

	struct manifest_shard *shard = &m->shard[m->shard_count];
	*shard = (struct manifest_shard){.name = name, .path = path, .args = "", .priority = PRIORITY_NORMAL,
		.frames = MANIFEST_DEFAULT_FRAMES, .children = MANIFEST_DEFAULT_CHILDREN, .after = -1, .pipeline = -1};
	uint32_t seen = 0;
	for (uint32_t i = 3; i < p->words; i++) {
		char *value = p->word[i];
		while (*value != '\0' && *value != '=')
			value++;
		if (!must(p, *value == '=', "an option is written name=value", p->word[i])) return false;
		*value++ = '\0'; /* from here on p->word[i] is the name alone */
		if (!set_option(p, shard, p->word[i], value, &seen)) return false;
	}
	/* Counted only now, so that `after` cannot name the shard itself. */
	m->shard_count++;
	return true;
}

/* Fails when a shard is to have more capabilities from its start on than it has slots: one for each channel, one for
 * the right to start others, one for each GPU partition but its own. */
static bool check_slots(struct parser *p) {
	const struct manifest *m = p->m;
	uint32_t partitions = 0;
	for (uint32_t i = 0; i < m->shard_count; i++)
		partitions += m->shard[i].gpu;
	for (uint32_t i = 0; i < m->shard_count; i++) {
		const struct manifest_shard *shard = &m->shard[i];
		uint32_t slots = shard->channels + shard->spawn + (shard->gpu ? partitions - 1 : 0);
		if (!must(p, slots <= COCONUT_CAP_SLOTS, "this line gives a shard more capabilities than it has slots", shard->name))
			return false;
	}
	return true;
}

/* Returns whether a channel is one between these two shards. */
static bool joins(const struct manifest_channel *channel, const uint8_t shard[2]) {
	return (channel->shard[0] == shard[0] && channel->shard[1] == shard[1])
	    || (channel->shard[0] == shard[1] && channel->shard[1] == shard[0]);
}

/* channel SHARD_A SHARD_B. Two shards can have several channels. */
static bool parse_channel(struct parser *p) {
	struct manifest *m = p->m;
	struct manifest_channel channel;
	if (!refer_to_two_shards(p, channel.shard)
	    || !must(p, m->channel_count < MANIFEST_CHANNELS, "there are too many channels", p->word[0]))
		return false;
	for (int end = 0; end < 2; end++)
		m->shard[channel.shard[end]].channels++;
	m->channel[m->channel_count++] = channel;
	return check_slots(p);
}

/* gpu SHARD. */
static bool parse_gpu(struct parser *p) {
	int index = refer_to_shard(p, p->word[1]);
	if (index < 0 || !must(p, !p->m->shard[index].gpu, "an earlier line gives this shard a partition", p->word[1]))
		return false;
	p->m->shard[index].gpu = true;
	return check_slots(p);
}

/* Reads layers=A-B,C-D: both ranges inclusive, the second right behind the first. */
static bool parse_layers(struct parser *p, const char *word, struct manifest_pipeline *pipeline) {
	static const char key[] = "layers=", after_range[2] = {',', '\0'}; /* what follows each of the ranges */
	uint32_t *first = pipeline->first, *last = pipeline->last;
	bool good = strlen(word) > strlen(key) && memcmp(word, key, strlen(key)) == 0;
	const char *at = good ? word + strlen(key) : word;
	/* The condition stops at the first byte that does not fit, so `at` never passes the NUL of the word. */
	for (int stage = 0; good && stage < 2; stage++)
		good = read_number(&at, MANIFEST_LAYER_MAX, &first[stage]) && *at++ == '-'
		    && read_number(&at, MANIFEST_LAYER_MAX, &last[stage]) && *at++ == after_range[stage];
	return must(p, good, "the layers are written layers=A-B,C-D", word)
	    && must(p, first[0] <= last[0] && first[1] <= last[1], "a range of layers ends before it begins", word)
	    && must(p, first[1] == last[0] + 1,
		    "the second stage has to begin with the layer after the last one of the first", word);
}

/* pipeline SHARD_A SHARD_B layers=A-B,C-D. A shard has one configuration page and is part of one pipeline only, so
 * MANIFEST_PIPELINES, half the number of shards, cannot be exceeded. */
static bool parse_pipeline(struct parser *p) {
	struct manifest *m = p->m;
	struct manifest_pipeline pipeline = {0};
	if (!refer_to_two_shards(p, pipeline.shard) || !parse_layers(p, p->word[3], &pipeline)) return false;
	for (int stage = 0; stage < 2; stage++) {
		int16_t *part_of = &m->shard[pipeline.shard[stage]].pipeline;
		if (!must(p, *part_of < 0, "an earlier line makes this shard part of a pipeline", p->word[1 + stage]))
			return false;
		*part_of = (int16_t)m->pipeline_count;
	}
	while (pipeline.channel < m->channel_count && !joins(&m->channel[pipeline.channel], pipeline.shard))
		pipeline.channel++;
	m->pipeline[m->pipeline_count++] = pipeline;
	return must(p, pipeline.channel < m->channel_count, "no earlier line declares a channel between the two shards",
		    p->word[2]);
}

/* Parses one line, which ends with a NUL and holds no other control byte than tabs. */
static bool parse_line(struct parser *p, char *line) {
	static const struct {
		const char *name;
		uint32_t min, max; /* words, the name itself included */
		/* calls through parse: parse_shard, parse_channel, parse_gpu, parse_pipeline */
		bool (*parse)(struct parser *p);
	} statements[] = {
		{"shard", 3, MAX_WORDS - 1, parse_shard},
		{"channel", 3, 3, parse_channel},
		{"gpu", 2, 2, parse_gpu},
		{"pipeline", 4, 4, parse_pipeline},
	};
	if (!split_line(p, line)) return false;
	if (p->words == 0) return true;
	for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++)
		if (same(p->word[0], statements[i].name))
			return must(p, p->words >= statements[i].min, "the line ends too early", p->word[p->words - 1])
			    && must(p, p->words <= statements[i].max, "the line should have ended before this word",
				    p->word[statements[i].max])
			    && statements[i].parse(p);
	return must(p, false, "a line begins with shard, channel, gpu or pipeline", p->word[0]);
}

/* Looks at every byte twice: once for the end of the line and control bytes, once for words. */
int manifest_parse(char *text, size_t len, struct manifest *m, struct manifest_error *error) {
	struct parser p = {.m = m, .error = error};
	__builtin_memset(m, 0, sizeof(*m)); /* in its place: it is large */
	*error = (struct manifest_error){0};
	for (size_t start = 0, end; start < len; start = end + 1) {
		error->line++;
		bool control = false;
		for (end = start; end < len && text[end] != '\n'; end++) {
			/* Editors of other systems end a line with CR LF. */
			if (text[end] == '\r' && (end + 1 == len || text[end + 1] == '\n')) text[end] = ' ';
			control |= ((unsigned char)text[end] < ' ' && text[end] != '\t') || text[end] == 0x7F;
		}
		text[end] = '\0';
		/* A word with a control byte would carry it to the console, so none is reported. */
		if (!must(&p, !control, "the line contains a control byte", NULL) || !parse_line(&p, text + start))
			return -COCONUT_E_INVAL;
	}
	return 0;
}
