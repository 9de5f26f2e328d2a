/*
 * Tests of manifest.c: what a correct manifest means, and every way in which a line can be wrong.
 *
 * Each text is parsed in a block of malloc that has exactly the one byte more that the contract asks for, so the
 * sanitizer sees a step too far.
 *
 * SOURCES: manifest.c
 */
#define COCONUT_NO_CALLS
#include "coconut.h"
#include "manifest.h"
#include "check.h"

static struct manifest m;
static struct manifest_error error;
static char *text; /* what was parsed last: m and error point into it */

static int parse_bytes(const char *bytes, size_t len) {
	free(text);
	text = malloc(len + 1);
	memcpy(text, bytes, len);
	text[len] = 'X'; /* the byte after the text belongs to the parser, its value does not matter */
	return manifest_parse(text, len, &m, &error);
}

static int parse(const char *string) { return parse_bytes(string, strlen(string)); }

/* Checks that a string result lies in the text and says what is expected. */
static void check_string(const char *got, const char *expected) {
	CHECK(strcmp(got, expected) == 0);
	if (strcmp(got, expected) != 0) printf("  got \"%s\", expected \"%s\"\n", got, expected);
}

/* Checks that a text is refused at that line, for a reason that contains those words, because of that word. */
static void refused(const char *string, uint32_t line, const char *reason, const char *word) {
	int result = parse(string);
	if (result != -COCONUT_E_INVAL || error.line != line || strstr(error.reason, reason) == NULL
	    || (word == NULL) != (error.word == NULL) || (word != NULL && strcmp(word, error.word) != 0)) {
		printf("  %.60s: %d, line %u, %s (%s); expected line %u, %s (%s)\n", string, result, error.line,
			error.reason ? error.reason : "no reason", error.word ? error.word : "no word", line, reason,
			word ? word : "no word");
		check_failures++;
	}
}

TEST(nothing) {
	CHECK_EQ(parse(""), 0);
	CHECK_EQ(parse("\n\n  \t \n# a comment\n   # another one\n#"), 0);
	CHECK_EQ(m.shard_count + m.channel_count + m.pipeline_count, 0);
}

TEST(defaults) {
	CHECK_EQ(parse("shard a /bin/a"), 0);
	CHECK_EQ(m.shard_count, 1);
	check_string(m.shard[0].name, "a");
	check_string(m.shard[0].path, "/bin/a");
	check_string(m.shard[0].args, "");
	CHECK_EQ(m.shard[0].priority, PRIORITY_NORMAL);
	CHECK_EQ(m.shard[0].frames, 16384);
	CHECK_EQ(m.shard[0].restart, 0);
	CHECK_EQ(m.shard[0].after, -1);
	CHECK_EQ(m.shard[0].pipeline, -1);
	CHECK(!m.shard[0].gpu);
}

#define EVERYTHING \
	"# the boot manifest \xC3\xA9\r\n" \
	"shard\tfs-reader /bin/fs  priority=high frames=64 restart=3 args=one\r\n" \
	"\r\n" \
	"shard llama.0 /bin/llama after=fs-reader args=\"-p \\\"Once \\\\ upon\\\" # time\" priority=low" \
	" # a comment\n" \
	"shard llama_1 /bin/llama frames=4194304 restart=1000000 args=\"\" priority=critical\n" \
	"shard d /bin/d args=a=b#c priority=normal after=llama_1\n" \
	"channel llama.0 fs-reader\n" \
	"channel llama_1 llama.0\n" \
	"gpu d\n" \
	"pipeline llama.0 llama_1 layers=0-2,3-65535 #\r"

TEST(everything) {
	CHECK_EQ(parse(EVERYTHING), 0);
	CHECK_EQ(m.shard_count, 4);
	CHECK_EQ(m.channel_count, 2);
	CHECK_EQ(m.pipeline_count, 1);
	static const struct {
		const char *name, *path, *args;
		int priority, frames, restart, after, pipeline, gpu;
	} want[] = {
		{"fs-reader", "/bin/fs", "one", PRIORITY_HIGH, 64, 3, -1, -1, 0},
		{"llama.0", "/bin/llama", "-p \"Once \\ upon\" # time", PRIORITY_LOW, 16384, 0, 0, 0, 0},
		{"llama_1", "/bin/llama", "", PRIORITY_CRITICAL, 4194304, 1000000, -1, 0, 0},
		{"d", "/bin/d", "a=b#c", PRIORITY_NORMAL, 16384, 0, 2, -1, 1},
	};
	for (int i = 0; i < 4; i++) {
		check_string(m.shard[i].name, want[i].name);
		check_string(m.shard[i].path, want[i].path);
		check_string(m.shard[i].args, want[i].args);
		CHECK_EQ(m.shard[i].priority, want[i].priority);
		CHECK_EQ(m.shard[i].frames, want[i].frames);
		CHECK_EQ(m.shard[i].restart, want[i].restart);
		CHECK_EQ(m.shard[i].after, want[i].after);
		CHECK_EQ(m.shard[i].pipeline, want[i].pipeline);
		CHECK_EQ(m.shard[i].gpu, want[i].gpu);
	}
	CHECK(m.channel[0].shard[0] == 1 && m.channel[0].shard[1] == 0);
	CHECK(m.channel[1].shard[0] == 2 && m.channel[1].shard[1] == 1);
	CHECK(m.pipeline[0].shard[0] == 1 && m.pipeline[0].shard[1] == 2 && m.pipeline[0].channel == 1);
	CHECK(m.pipeline[0].first[0] == 0 && m.pipeline[0].last[0] == 2);
	CHECK(m.pipeline[0].first[1] == 3 && m.pipeline[0].last[1] == 65535);
}

TEST(lines) {
	refused("nonsense", 1, "begins with shard", "nonsense");
	refused("\n# x\nSHARD a /a", 3, "begins with shard", "SHARD");
	refused("\"\" a", 1, "begins with shard", "");
	refused("shard a /a\r\n\r\nbad\r\n", 3, "begins with shard", "bad");
	refused("shard", 1, "too early", "shard");
	refused("shard a", 1, "too early", "a");
	refused("shard a # /a", 1, "too early", "a");
	refused("channel", 1, "too early", "channel");
	refused("gpu", 1, "too early", "gpu");
	refused("shard a /a\nshard b /b\nchannel a", 3, "too early", "a");
	refused("shard a /a\nshard b /b\nchannel a b\npipeline a b", 4, "too early", "b");
	refused("shard a /a\nshard b /b\nchannel a b more", 3, "before this word", "more");
	refused("shard a /a\ngpu a x", 2, "before this word", "x");
	refused("shard a /a\nshard b /b\nchannel a b\npipeline a b layers=0-1,2-3 y", 4, "before this word", "y");
	refused("shard a /a 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17", 1, "too many words", "16 17");
}

TEST(control_bytes) {
	refused("shard a /a\nshard \x1B[2J /b", 2, "control byte", NULL);
	refused("# \x7F", 1, "control byte", NULL);
	refused("shard a\rb /a", 1, "control byte", NULL);
	refused("shard a /a args=\"\b\"", 1, "control byte", NULL);
	CHECK_EQ(parse_bytes("shard a /a\0b", 12), -COCONUT_E_INVAL);
	CHECK(error.line == 1 && strstr(error.reason, "control byte") != NULL && error.word == NULL);
}

TEST(names_and_paths) {
	CHECK_EQ(parse("shard abcdefghijklmnopqrstuvw /a\nshard AZaz09_.- /b"), 0);
	refused("shard abcdefghijklmnopqrstuvwx /a", 1, "a name has 1 to 23", "abcdefghijklmnopqrstuvwx");
	refused("shard \"\" /a", 1, "a name has", "");
	static const char *const bad[] = {"a/b", "/a", "a:b", "a@b", "a[b", "a`b", "a{b", "\xC3\xA9", "a=b"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char line[64];
		snprintf(line, sizeof(line), "shard %s /a", bad[i]);
		refused(line, 1, "a name has", bad[i]);
	}
	refused("shard a /a\nshard b /b\nshard a /c", 3, "declares a shard of this name", "a");
	refused("shard a a", 1, "starts with a slash", "a");
	refused("shard a \"\"", 1, "starts with a slash", "");
	char line[400], path[300];
	memset(path, 'p', sizeof(path));
	path[0] = '/';
	path[255] = '\0';
	snprintf(line, sizeof(line), "shard a %s", path);
	CHECK_EQ(parse(line), 0);
	CHECK_EQ(strlen(m.shard[0].path), 255);
	path[255] = 'p';
	path[256] = '\0';
	snprintf(line, sizeof(line), "shard a %s", path);
	refused(line, 1, "255 bytes", path);
}

TEST(options) {
	refused("shard a /a fast", 1, "name=value", "fast");
	refused("shard a /a colour=red", 1, "no such option", "colour");
	refused("shard a /a =1", 1, "no such option", "");
	refused("shard a /a Frames=1", 1, "no such option", "Frames");
	static const char *const twice[] = {"priority=low", "frames=1", "restart=1", "args=x", "after=z",
		"spawn=yes"};
	for (size_t i = 0; i < sizeof(twice) / sizeof(twice[0]); i++) {
		char line[100], name[20];
		snprintf(line, sizeof(line), "shard z /z\nshard a /a %s %s", twice[i], twice[i]);
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(twice[i], "="), twice[i]);
		refused(line, 2, "twice", name);
	}
	refused("shard a /a priority=urgent", 1, "a priority is", "urgent");
	refused("shard a /a priority=", 1, "a priority is", "");
	refused("shard a /a frames=0", 1, "out of range", "0");
	refused("shard a /a frames=4194305", 1, "out of range", "4194305");
	refused("shard a /a frames=99999999999999999999999", 1, "out of range", "99999999999999999999999");
	refused("shard a /a frames=18446744073709551617", 1, "out of range", "18446744073709551617");
	refused("shard a /a frames=", 1, "no number", "");
	refused("shard a /a frames=-1", 1, "no number", "-1");
	refused("shard a /a frames=0x10", 1, "no number", "0x10");
	refused("shard a /a frames=1k", 1, "no number", "1k");
	refused("shard a /a restart=1000001", 1, "out of range", "1000001");
	CHECK_EQ(parse("shard a /a restart=0 frames=1"), 0);
	refused("shard a /a spawn=no", 1, "is yes or a number", "no");
	refused("shard a /a spawn=0", 1, "out of range", "0");
	refused("shard a /a spawn=65", 1, "out of range", "65");
	refused("shard a /a spawn=6x", 1, "out of range", "6x");
	CHECK_EQ(parse("shard a /a spawn=yes\nshard b /b\nshard c /c spawn=3"), 0);
	CHECK(m.shard[0].spawn && !m.shard[1].spawn && m.shard[2].spawn);
	CHECK_EQ(m.shard[0].children, MANIFEST_DEFAULT_CHILDREN);
	CHECK_EQ(m.shard[2].children, 3);
	refused("shard a /a after=a", 1, "no earlier line", "a");
	refused("shard a /a after=b\nshard b /b", 1, "no earlier line", "b");
	refused("shard a /a\nshard b /b after=", 2, "no earlier line", "");
	CHECK_EQ(parse("shard a /a\nshard b /b after=a\nshard c /c after=a"), 0);
	CHECK(m.shard[1].after == 0 && m.shard[2].after == 0);
}

TEST(quotes) {
	refused("shard a /a args=\"open", 1, "closing quote", "args=open");
	refused("shard a /a args=\"open\\\"\n\"", 1, "closing quote", "args=open\"");
	refused("shard a /a args=\"", 1, "closing quote", "args=");
	refused("shard a /a args=\"x\"frames=1", 1, "blank is missing", "frames=1");
	refused("shard a /a args=\"a\\nb\"", 1, "backslash", "\\nb\"");
	refused("shard a /a args=\"a\\", 1, "backslash", "\\");
	CHECK_EQ(parse("shard a /a args=a\\nb"), 0);
	check_string(m.shard[0].args, "a\\nb");
	CHECK_EQ(parse("shard a /a args=\"\\\"\\\"\\\\\\\\\"\tframes=5"), 0);
	check_string(m.shard[0].args, "\"\"\\\\");
	CHECK_EQ(m.shard[0].frames, 5);
	CHECK_EQ(parse("shard a \"/with a blank\" args=\"  two  blanks  \""), 0);
	check_string(m.shard[0].path, "/with a blank");
	check_string(m.shard[0].args, "  two  blanks  ");

	static char line[2000], args[1100];
	memset(args, 'x', COCONUT_ARGS_MAX - 1);
	snprintf(line, sizeof(line), "shard a /a args=\"%s\"", args);
	CHECK_EQ(parse(line), 0);
	check_string(m.shard[0].args, args);
	args[COCONUT_ARGS_MAX - 1] = 'x';
	snprintf(line, sizeof(line), "shard a /a args=\"%s\"", args);
	refused(line, 1, "too long", args);
}

TEST(channels) {
	refused("channel a b", 1, "no earlier line", "a");
	refused("shard a /a\nchannel a b\nshard b /b", 2, "no earlier line", "b");
	refused("shard a /a\nchannel a a", 2, "different", "a");
	refused("gpu a", 1, "no earlier line", "a");
	refused("shard a /a\ngpu a\ngpu a", 3, "gives this shard a partition", "a");
	CHECK_EQ(parse("shard a /a\nshard b /b\nchannel a b\nchannel b a"), 0);
	CHECK_EQ(m.channel_count, 2);
}

#define TWO "shard a /a\nshard b /b\nchannel b a\n"

TEST(pipelines) {
	CHECK_EQ(parse(TWO "pipeline a b layers=5-5,6-6"), 0);
	CHECK(m.pipeline[0].first[0] == 5 && m.pipeline[0].last[0] == 5 && m.pipeline[0].first[1] == 6);
	CHECK(m.shard[0].pipeline == 0 && m.shard[1].pipeline == 0 && m.pipeline[0].channel == 0);
	refused(TWO "pipeline a a layers=0-2,3-5", 4, "different", "a");
	refused(TWO "pipeline a c layers=0-2,3-5", 4, "no earlier line", "c");
	refused("shard a /a\nshard b /b\npipeline a b layers=0-2,3-5\nchannel a b", 3, "a channel between", "b");
	refused("shard a /a\nshard b /b\nshard c /c\nchannel a c\nchannel b c\npipeline a b layers=0-2,3-5", 6,
		"a channel between", "b");
	refused(TWO "pipeline a b layers=0-2,3-5\npipeline b a layers=0-2,3-5", 5, "part of a pipeline", "b");
	refused(TWO "shard c /c\nchannel b c\npipeline a b layers=0-2,3-5\npipeline c b layers=0-2,3-5", 7,
		"part of a", "b");
	static const char *const malformed[] = {"layer=0-2,3-5", "layers", "layers=", "layers=0", "layers=0-",
		"layers=0-2", "layers=0-2,", "layers=0-2,3", "layers=0-2,3-", "layers=0-2,3-5,", "layers=0-2,3-5x",
		"layers=0-2;3-5", "layers=-2,3-5", "layers=0--2,3-5", "layers=a-b,c-d", "layers=0-2,3-65536",
		"layers=0-4294967296,3-5", "0-2,3-5"};
	for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
		char line[200];
		snprintf(line, sizeof(line), TWO "pipeline a b %s", malformed[i]);
		refused(line, 4, "layers=A-B,C-D", malformed[i]);
	}
	refused(TWO "pipeline a b layers=0-2,3-5#", 4, "layers=A-B,C-D", "layers=0-2,3-5#"); /* no blank, no comment */
	refused(TWO "pipeline a b layers=2-1,2-5", 4, "before it begins", "layers=2-1,2-5");
	refused(TWO "pipeline a b layers=0-2,3-2", 4, "before it begins", "layers=0-2,3-2");
	refused(TWO "pipeline a b layers=0-2,2-5", 4, "has to begin", "layers=0-2,2-5");
	refused(TWO "pipeline a b layers=0-2,4-5", 4, "has to begin", "layers=0-2,4-5");
}

/* As many lines of each kind as there may be, and one more. */
TEST(full_tables) {
	static char big[20000];
	char *at = big;
	for (int i = 0; i < MANIFEST_SHARDS; i++)
		at += sprintf(at, "shard s%d /s\n", i);
	char *after_shards = at;
	for (int i = 0; i < MANIFEST_CHANNELS; i++)
		at += sprintf(at, "channel s%d s%d\n", i, (i + 1) % MANIFEST_SHARDS);
	for (int i = 0; i < MANIFEST_PIPELINES; i++)
		at += sprintf(at, "pipeline s%d s%d layers=0-%d,%d-99\n", 2 * i, 2 * i + 1, i, i + 1);
	CHECK_EQ(parse(big), 0);
	CHECK_EQ(m.shard_count, 64);
	CHECK_EQ(m.channel_count, 64);
	CHECK_EQ(m.pipeline_count, 32);
	for (int i = 0; i < MANIFEST_PIPELINES; i++)
		CHECK(m.pipeline[i].channel == 2 * i && m.shard[2 * i].pipeline == i
			&& m.shard[2 * i + 1].pipeline == i);
	sprintf(at, "channel s0 s5\n");
	refused(big, 161, "too many channels", "channel");
	strcpy(after_shards, "shard more /s\n");
	refused(big, 65, "too many shards", "more");

	at = big + sprintf(big, "shard a /a\nshard b /b\nshard c /c\n");
	for (int i = 0; i < COCONUT_CAP_SLOTS; i++)
		at += sprintf(at, i % 2 ? "channel a b\n" : "channel b c\n");
	strcpy(at, "channel a c\n");
	CHECK_EQ(parse(big), 0);
	strcpy(at, "channel c b\n");
	refused(big, 20, "more capabilities than it has slots", "b");
	strcpy(at, "channel b c\n");
	refused(big, 20, "more capabilities than it has slots", "b");
	strcpy(at, "gpu b\n");
	CHECK_EQ(parse(big), 0);
	strcpy(at, "gpu b\ngpu a\n");
	refused(big, 21, "more capabilities than it has slots", "b");

	at = big + sprintf(big, "shard a /a spawn=yes\nshard b /b\n");
	for (int i = 0; i < COCONUT_CAP_SLOTS - 1; i++)
		at += sprintf(at, "channel a b\n");
	CHECK_EQ(parse(big), 0);
	strcpy(at, "channel b a\n");
	refused(big, 18, "more capabilities than it has slots", "a");
}

/* Whatever the bytes are, the parser stays in the text and its result is consistent. The texts are made of pieces of
 * the grammar, with single bytes damaged, so that many of them get far. */
TEST(random_texts) {
	static const char *const pieces[] = {"shard ", "channel ", "gpu ", "pipeline ", "a ", "b ", "c ", "/x ", "/y",
		" ", "\n", "\n", "\n", "shard a /x\n", "shard b /y\n", "shard c /y ", "channel a b\n", "args=", "\"",
		"\\", "\\\"",
		"frames=", "1", "99", "after=a ", "priority=", "high ", "restart=", "layers=0-1,2-3 ", "#", "\r",
		"\t", "=", "\x01", "\xFF"};
	uint64_t state = 88172645463325252u;
	int accepted = 0;
	for (int round = 0; round < 400000; round++) {
		char string[400];
		size_t len = round & 1 ? (size_t)sprintf(string, "shard a /x\nshard b /y\n") : 0;
		for (int i = 0; i < 1 + round % 20; i++) {
			state ^= state << 13, state ^= state >> 7, state ^= state << 17;
			const char *piece = pieces[(state >> 20) % (sizeof(pieces) / sizeof(pieces[0]))];
			memcpy(string + len, piece, strlen(piece));
			len += strlen(piece);
		}
		if (round % 4 == 0) string[(state >> 8) % len] = (char)(state >> 40);
		int result = parse_bytes(string, len);
		CHECK(result == 0 || result == -COCONUT_E_INVAL);
		CHECK((result == 0) == (error.reason == NULL));
		CHECK(error.word == NULL || (error.word >= text && error.word + strlen(error.word) <= text + len));
		for (uint32_t i = 0; result == 0 && i < m.shard_count; i++) {
			const char *strings[] = {m.shard[i].name, m.shard[i].path};
			for (int j = 0; j < 2; j++)
				CHECK(strings[j] >= text && strings[j] + strlen(strings[j]) <= text + len);
			CHECK(strlen(m.shard[i].args) < COCONUT_ARGS_MAX && m.shard[i].after < (int)i);
			CHECK(m.shard[i].priority <= PRIORITY_LOW && m.shard[i].frames > 0);
		}
		accepted += result == 0 && m.shard_count > 0;
	}
	CHECK(accepted > 2000);
}

int main(void) {
	RUN(nothing);
	RUN(defaults);
	RUN(everything);
	RUN(lines);
	RUN(control_bytes);
	RUN(names_and_paths);
	RUN(options);
	RUN(quotes);
	RUN(channels);
	RUN(pipelines);
	RUN(full_tables);
	RUN(random_texts);
	free(text);
	return check_result();
}
