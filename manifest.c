/*
 * manifest.c: parses the boot manifest in place.
 *
 * Each line is first split into words, which is also where quotes and comments end, and then handed to the function
 * of its first word. The end of each word is overwritten with a NUL, so that names, paths and arguments stay where
 * they are and nothing is copied. Invariants: nothing is read or written outside the text and the one byte after
 * it; every index in the result is smaller than the count it belongs to; the first mistake ends the work and is
 * reported with its line, a reason and the word that caused it.
 *
 * Read next: manifest.h for the grammar, main.c for what is done with the result.
 */
#include "manifest.h"

#define COCONUT_NO_CALLS
#include "coconut.h"

void *memset(void *to, int byte, size_t len); /* the supervisor's own; libc's in the host tests */
int memcmp(const void *a, const void *b, size_t len);
size_t strlen(const char *s);

#define MAX_WORDS 16 /* of a line; no correct one has more than 9 */

/* What the functions share. It lives on the stack of manifest_parse, so there is no state from one call to the next. */
struct parser {
	char *word[MAX_WORDS]; /* the words of the line, each ended by a NUL */
	uint32_t words;
	struct manifest *m;
	struct manifest_error *error; /* error->line is the current one */
};

/* Records the first mistake. Returns the error that every function up to manifest_parse passes on. */
static int fail(struct parser *p, const char *reason, const char *word)
{
	p->error->reason = reason;
	p->error->word = word;
	return -COCONUT_E_INVAL;
}

/* Returns whether two strings are equal. */
static bool same(const char *a, const char *b)
{
	size_t len = strlen(a);
	return len == strlen(b) && memcmp(a, b, len) == 0;
}

/* Returns whether a byte separates words. */
static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Takes the word at *line off the line and appends it to p->word. Between quotes a blank or a # is part of the word
 * and \" and \\ stand for their second character. What is left of a word is never longer than it was, so it is moved
 * to its own beginning. *line then is the first byte behind. Returns 0 or an error. */
static int take_word(struct parser *p, char **line)
{
	char *from = *line, *to = *line;
	bool quoted = false;
	for (; *from != '\0' && (quoted || !is_blank(*from)); from++) {
		if (*from == '"') {
			/* Without this check args="x"frames=9 would quietly lose an option to the arguments. */
			if (quoted && from[1] != '\0' && !is_blank(from[1]))
				return fail(p, "a blank is missing after the closing quote", from + 1);
			quoted = !quoted;
			continue;
		}
		if (quoted && *from == '\\' && *++from != '"' && *from != '\\')
			return fail(p, "a backslash in quotes can only precede a quote or a backslash", from - 1);
		*to++ = *from;
	}
	p->word[p->words++] = *line;
	*line = *from == '\0' ? from : from + 1;
	*to = '\0';
	return quoted ? fail(p, "the closing quote is missing", p->word[p->words - 1]) : 0;
}

/* Splits a line, which ends with a NUL, into p->word, up to a comment. Returns 0 or an error. */
static int split_line(struct parser *p, char *line)
{
	p->words = 0;
	for (;;) {
		while (is_blank(*line))
			line++;
		if (*line == '\0' || *line == '#')
			return 0;
		if (p->words == MAX_WORDS)
			return fail(p, "the line has too many words", line);
		int error = take_word(p, &line);
		if (error != 0)
			return error;
	}
}

/* Reads the decimal number at *s, at most `max`, and moves *s behind it. Returns whether there was one. */
static bool read_number(const char **s, uint32_t max, uint32_t *number)
{
	const char *start = *s;
	uint64_t value = 0; /* stays below 10 * max + 10, so it cannot wrap */
	for (; **s >= '0' && **s <= '9'; (*s)++) {
		value = value * 10 + (uint64_t)(**s - '0');
		if (value > max)
			return false;
	}
	*number = (uint32_t)value;
	return *s != start;
}

/* Reads a value that is nothing but a number from `min` to `max`. Returns 0 or an error. */
static int parse_number(struct parser *p, const char *value, uint32_t min, uint32_t max, uint32_t *number)
{
	const char *end = value;
	if (!read_number(&end, max, number) || *end != '\0' || *number < min)
		return fail(p, "this is no number, or one out of range", value);
	return 0;
}

/* Returns the index of the shard of that name among those declared so far, or -1. */
static int find_shard(const struct manifest *m, const char *name)
{
	for (uint32_t i = 0; i < m->shard_count; i++)
		if (same(m->shard[i].name, name))
			return (int)i;
	return -1;
}

/* Returns the index of the declared shard that `name` means, or an error. */
static int refer_to_shard(struct parser *p, const char *name)
{
	int index = find_shard(p->m, name);
	return index >= 0 ? index : fail(p, "no earlier line declares a shard of this name", name);
}

/* Reads the two different shards that the words after the statement's name mean. Returns 0 or an error. */
static int refer_to_two_shards(struct parser *p, uint8_t shard[2])
{
	for (int i = 0; i < 2; i++) {
		int index = refer_to_shard(p, p->word[1 + i]);
		if (index < 0)
			return index;
		shard[i] = (uint8_t)index;
	}
	return shard[0] != shard[1] ? 0 : fail(p, "the two shards have to be different", p->word[2]);
}

/* Returns whether a shard may have this name: one that needs no quotes, in the manifest or on the console. */
static bool name_valid(const char *name)
{
	size_t len = strlen(name);
	for (size_t i = 0; i < len; i++) {
		char c = name[i];
		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9')
		    && c != '_' && c != '.' && c != '-')
			return false;
	}
	return len >= 1 && len <= MANIFEST_NAME_MAX;
}

/* Reads the value of priority=. Returns 0 or an error. */
static int parse_priority(struct parser *p, const char *value, uint8_t *priority)
{
	static const char *const names[] = {"critical", "high", "normal", "low"}; /* in the order of PRIORITY_... */
	for (*priority = PRIORITY_CRITICAL; *priority <= PRIORITY_LOW; (*priority)++)
		if (same(value, names[*priority]))
			return 0;
	return fail(p, "a priority is critical, high, normal or low", value);
}

/* Sets the option `name` of a shard. `seen` has a bit for each option that the line had before. Returns 0 or an
 * error: no such option, the same one again, or a value that it cannot have. */
static int set_option(struct parser *p, struct manifest_shard *shard, const char *name, const char *value,
	uint32_t *seen)
{
	static const char *const names[] = {"priority", "frames", "restart", "after", "spawn", "args"};
	uint32_t option = 0, count = sizeof(names) / sizeof(names[0]);
	while (option < count && !same(name, names[option]))
		option++;
	if (option == count)
		return fail(p, "a shard has no such option", name);
	if (*seen & 1U << option)
		return fail(p, "the option stands twice in the line", name);
	*seen |= 1U << option;
	switch (option) {
	case 0: /* the index in names */
		return parse_priority(p, value, &shard->priority);
	case 1:
		return parse_number(p, value, 1, MANIFEST_FRAMES_MAX, &shard->frames);
	case 2:
		return parse_number(p, value, 0, MANIFEST_RESTART_MAX, &shard->restart);
	case 3:
		shard->after = (int16_t)refer_to_shard(p, value);
		return shard->after >= 0 ? 0 : -COCONUT_E_INVAL;
	case 4:
		shard->spawn = same(value, "yes");
		return shard->spawn ? 0 : fail(p, "spawn can only be yes", value);
	default:
		shard->args = value;
		return strlen(value) < COCONUT_ARGS_MAX ? 0 : fail(p, "the arguments are too long", value);
	}
}

/* shard NAME PATH and options, in any order, each at most once. Returns 0 or an error. */
static int parse_shard(struct parser *p)
{
	struct manifest *m = p->m;
	const char *name = p->word[1], *path = p->word[2]; /* parse_line has counted the words */
	if (!name_valid(name))
		return fail(p, "a name has 1 to 23 letters, digits, points, hyphens or underscores", name);
	if (find_shard(m, name) >= 0)
		return fail(p, "an earlier line declares a shard of this name", name);
	if (path[0] != '/' || strlen(path) > COCONUT_PATH_MAX)
		return fail(p, "a path starts with a slash and has at most 255 bytes", path);
	if (m->shard_count == MANIFEST_SHARDS)
		return fail(p, "there are too many shards", name);

	struct manifest_shard *shard = &m->shard[m->shard_count];
	*shard = (struct manifest_shard){.name = name, .path = path, .args = "", .priority = PRIORITY_NORMAL,
		.frames = MANIFEST_DEFAULT_FRAMES, .after = -1, .pipeline = -1};
	uint32_t seen = 0;
	for (uint32_t i = 3; i < p->words; i++) {
		char *value = p->word[i];
		while (*value != '\0' && *value != '=')
			value++;
		if (*value == '\0')
			return fail(p, "an option is written name=value", p->word[i]);
		*value++ = '\0'; /* from here on p->word[i] is the name alone */
		int error = set_option(p, shard, p->word[i], value, &seen);
		if (error != 0)
			return error;
	}
	/* Counted only now, so that `after` cannot name the shard itself. */
	m->shard_count++;
	return 0;
}

/* channel SHARD_A SHARD_B. Two shards can have several channels. Returns 0 or an error. */
static int parse_channel(struct parser *p)
{
	struct manifest *m = p->m;
	struct manifest_channel channel;
	int error = refer_to_two_shards(p, channel.shard);
	if (error != 0)
		return error;
	if (m->channel_count == MANIFEST_CHANNELS)
		return fail(p, "there are too many channels", p->word[0]);
	/* Each channel puts a capability into one slot of both shards. */
	for (int end = 0; end < 2; end++) {
		uint32_t used = 0;
		for (uint32_t i = 0; i < m->channel_count; i++)
			used += m->channel[i].shard[0] == channel.shard[end]
			     || m->channel[i].shard[1] == channel.shard[end];
		if (used == COCONUT_CAP_SLOTS)
			return fail(p, "the channels of this shard fill all its capability slots", p->word[1 + end]);
	}
	m->channel[m->channel_count++] = channel;
	return 0;
}

/* gpu SHARD. Returns 0 or an error. */
static int parse_gpu(struct parser *p)
{
	int index = refer_to_shard(p, p->word[1]);
	if (index < 0)
		return index;
	if (p->m->shard[index].gpu)
		return fail(p, "an earlier line gives this shard a partition", p->word[1]);
	p->m->shard[index].gpu = true;
	return 0;
}

/* Reads layers=A-B,C-D: both ranges inclusive, the second right behind the first. Returns 0 or an error. */
static int parse_layers(struct parser *p, const char *word, struct manifest_pipeline *pipeline)
{
	static const char key[] = "layers=", after_range[2] = {',', '\0'};
	if (strlen(word) < strlen(key) || memcmp(word, key, strlen(key)) != 0)
		return fail(p, "the layers are written layers=A-B,C-D", word);
	const char *at = word + strlen(key);
	/* Each condition stops at the first byte that does not fit, so `at` never passes the NUL of the word. */
	for (int stage = 0; stage < 2; stage++) {
		if (!read_number(&at, MANIFEST_LAYER_MAX, &pipeline->first[stage]) || *at++ != '-'
		    || !read_number(&at, MANIFEST_LAYER_MAX, &pipeline->last[stage]) || *at++ != after_range[stage])
			return fail(p, "the layers are written layers=A-B,C-D", word);
		if (pipeline->first[stage] > pipeline->last[stage])
			return fail(p, "a range of layers ends before it begins", word);
	}
	if (pipeline->first[1] != pipeline->last[0] + 1)
		return fail(p, "the second stage has to begin with the layer after the last one of the first", word);
	return 0;
}

/* Returns the index of a channel between two shards, or channel_count when there is none. */
static uint32_t find_channel(const struct manifest *m, const uint8_t shard[2])
{
	uint32_t i = 0;
	for (; i < m->channel_count; i++) {
		const uint8_t *end = m->channel[i].shard;
		if ((end[0] == shard[0] && end[1] == shard[1]) || (end[0] == shard[1] && end[1] == shard[0]))
			break;
	}
	return i;
}

/* pipeline SHARD_A SHARD_B layers=A-B,C-D. Returns 0 or an error. A shard has one configuration page and is part of
 * one pipeline only, so MANIFEST_PIPELINES, half the number of shards, cannot be exceeded. */
static int parse_pipeline(struct parser *p)
{
	struct manifest *m = p->m;
	struct manifest_pipeline pipeline;
	int error = refer_to_two_shards(p, pipeline.shard);
	if (error == 0)
		error = parse_layers(p, p->word[3], &pipeline);
	if (error != 0)
		return error;
	for (int stage = 0; stage < 2; stage++) {
		struct manifest_shard *shard = &m->shard[pipeline.shard[stage]];
		if (shard->pipeline >= 0)
			return fail(p, "an earlier line makes this shard part of a pipeline", p->word[1 + stage]);
		shard->pipeline = (int16_t)m->pipeline_count;
	}
	pipeline.channel = (uint16_t)find_channel(m, pipeline.shard);
	if (pipeline.channel == m->channel_count)
		return fail(p, "no earlier line declares a channel between the two shards", p->word[2]);
	m->pipeline[m->pipeline_count++] = pipeline;
	return 0;
}

/* Parses one line, which ends with a NUL and holds no other control byte than tabs. Returns 0 or an error. */
static int parse_line(struct parser *p, char *line)
{
	static const struct {
		const char *name;
		uint32_t min, max; /* words, the name itself included */
		int (*parse)(struct parser *p);
	} statements[] = {
		{"shard", 3, MAX_WORDS, parse_shard},
		{"channel", 3, 3, parse_channel},
		{"gpu", 2, 2, parse_gpu},
		{"pipeline", 4, 4, parse_pipeline},
	};
	int error = split_line(p, line);
	if (error != 0 || p->words == 0)
		return error;
	for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
		if (!same(p->word[0], statements[i].name))
			continue;
		if (p->words < statements[i].min)
			return fail(p, "the line ends too early", p->word[p->words - 1]);
		if (p->words > statements[i].max)
			return fail(p, "the line should have ended before this word", p->word[statements[i].max]);
		return statements[i].parse(p);
	}
	return fail(p, "a line begins with shard, channel, gpu or pipeline", p->word[0]);
}

/* Looks at every byte twice: once for the end of the line and control bytes, once for words. */
int manifest_parse(char *text, size_t len, struct manifest *m, struct manifest_error *error)
{
	struct parser p = {.m = m, .error = error};
	memset(m, 0, sizeof(*m));
	memset(error, 0, sizeof(*error));
	for (size_t start = 0, end; start < len; start = end + 1) {
		error->line++;
		bool control = false;
		for (end = start; end < len && text[end] != '\n'; end++) {
			/* Editors of other systems end a line with CR LF. */
			if (text[end] == '\r' && (end + 1 == len || text[end + 1] == '\n'))
				text[end] = ' ';
			control |= ((unsigned char)text[end] < ' ' && text[end] != '\t') || text[end] == 0x7F;
		}
		/* A word with a control byte would carry it to the console, so none is reported. */
		if (control)
			return fail(&p, "the line contains a control byte", NULL);
		text[end] = '\0';
		if (parse_line(&p, text + start) != 0)
			return -COCONUT_E_INVAL;
	}
	return 0;
}
