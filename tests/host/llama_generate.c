/*
 * Tests of generate.c and llama_options.c: the args of the inference shards, and whole texts, which are the naive
 * reference's byte for byte.
 *
 * SOURCES: shards/lib/generate.c shards/lib/llama_options.c shards/lib/args.c shards/lib/checkpoint.c shards/lib/tokenizer.c shards/lib/sampler.c shards/lib/transformer.c tests/reference/naive_llama.c
 */
#include "check.h"
#include "generate.h"
#include "llama_options.h"
#include "llama_random.h"
#include "transformer.h"

TEST(options_have_defaults) {
	struct llama_options o;

	CHECK(!llama_options_parse(&o, NULL));
	CHECK(!llama_options_parse(&o, ""));
	CHECK(text_equals(o.model, "/model.bin"));
	CHECK(text_equals(o.tokenizer, "/tokenizer.bin"));
	CHECK_EQ(o.steps, 256);
	CHECK(o.temperature == 0);
	CHECK(o.top_p == 0.9f);
	CHECK_EQ(o.seed, 42);
	CHECK_EQ(o.logits, 0);
	CHECK(!strcmp(o.prompt, ""));
}

TEST(options_are_read) {
	struct llama_options o;

	CHECK(!llama_options_parse(&o, "  steps=0 seed=7  model=/a/b temperature=0.85 topp=1 logits=1 tokenizer=/t "
				       "prompt=a b=c  d "));
	CHECK(text_equals(o.model, "/a/b"));
	CHECK(text_equals(o.tokenizer, "/t"));
	CHECK_EQ(o.steps, 0);
	CHECK_EQ(o.seed, 7);
	CHECK(o.temperature == 0.85f);
	CHECK(o.top_p == 1);
	CHECK_EQ(o.logits, 1);
	CHECK(!strcmp(o.prompt, "a b=c  d "));
	CHECK(!llama_options_parse(&o, "prompt="));
	CHECK(!strcmp(o.prompt, ""));
}

TEST(bad_options_are_named) {
	static const char *const bad[] = {
		"steps=", "steps", "steps=1x", "steps=-1", "steps=99999999999999999999", "seed=0", "seed=a", "temperature=-1",
		"temperature=.", "temperature=1.2.3", "topp=1.01", "topp=x", "topp=0.1234567890123456", "logits=2", "logits",
		"model=", "tokenizer",
	};
	struct llama_options o;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		const char *defect = llama_options_parse(&o, bad[i]);
		CHECK(defect && !strncmp(defect, bad[i], strcspn(bad[i], "=")));
	}
	CHECK(strstr(llama_options_parse(&o, "promt=x"), "unknown argument"));
	CHECK(strstr(llama_options_parse(&o, "prompt"), "unknown argument"));
}

/* Both implementations of one model and one vocabulary. */
struct pair {
	void *file, *words, *memory, *tables;
	struct checkpoint model;
	struct tokenizer tokenizer;
	struct transformer transformer;
	struct candidate *candidates;
	struct naive_model *naive_model;
	struct naive_tokenizer *naive_tokenizer;
};

static void pair_init(struct pair *p, const struct shape *shape) {
	int vocab_size = abs(shape->vocab_size);
	size_t size;

	p->file = random_checkpoint(shape, &size);
	CHECK(!checkpoint_parse(&p->model, p->file, size));
	p->words = random_tokenizer(vocab_size, &size);
	p->tables = malloc(tokenizer_memory(vocab_size));
	CHECK(!tokenizer_parse(&p->tokenizer, p->words, size, vocab_size, p->tables));
	p->memory = calloc(1, transformer_memory(&p->model, 0, shape->n_layers - 1));
	transformer_init(&p->transformer, &p->model, 0, shape->n_layers - 1, p->memory);
	p->candidates = malloc((size_t)vocab_size * sizeof(*p->candidates));
	p->naive_model = naive_model_new(p->file);
	p->naive_tokenizer = naive_tokenizer_new(p->words, vocab_size);
}

static void pair_free(struct pair *p) {
	naive_model_free(p->naive_model);
	naive_tokenizer_free(p->naive_tokenizer);
	free(p->candidates);
	free(p->memory);
	free(p->tables);
	free(p->words);
	free(p->file);
}

/* Writes the text of the shards' implementation to `out`. Returns the number of positions. */
static int write_text(struct pair *p, struct sampler sampler, const char *prompt, int steps, char *out) {
	struct generation g = { .tokenizer = &p->tokenizer, .sampler = sampler, .candidates = p->candidates };
	int *tokens = malloc(tokenizer_encode_memory(prompt)), count;
	struct text piece;
	char byte;

	CHECK(!tokenizer_encode(&p->tokenizer, prompt, tokens, &count));
	generation_start(&g, tokens, count, steps);
	while (g.pos < g.steps) {
		float *logits = NULL;
		transformer_embed(&p->transformer, g.token);
		transformer_layers(&p->transformer, g.pos);
		if (generation_needs_logits(&g)) logits = transformer_logits(&p->transformer);
		if (!generation_next(&g, logits, &piece, &byte)) break;
		memcpy(out, piece.start, piece.len);
		out += piece.len;
	}
	*out = 0;
	free(tokens);
	return g.pos;
}

/* Writes the text of the naive reference to `out`. Returns the number of positions. */
static int write_naive_text(struct pair *p, struct sampler sampler, const char *prompt, int steps, char *out) {
	struct naive_sampler s = { sampler.temperature, sampler.top_p, sampler.state };
	int *tokens = malloc((strlen(prompt) + 2) * sizeof(int)), count = naive_encode(p->naive_tokenizer, prompt, tokens);
	int token = tokens[0], pos = 0;
	char byte[2];

	*out = 0;
	while (pos < steps) {
		float *logits = naive_forward(p->naive_model, token, pos);
		int next = pos + 1 < count ? tokens[pos + 1] : naive_sample(&s, logits, p->naive_model->vocab_size);
		pos++;
		if (next == 1) break;
		strcat(out, naive_decode(p->naive_tokenizer, token, next, byte));
		token = next;
	}
	free(tokens);
	return pos;
}

TEST(whole_texts_are_the_reference_s) {
	static const struct shape shapes[] = {
		{ 64, 172, 3, 8, 4, 512, 48 }, { 48, 170, 2, 8, 2, -320, 40 }, { 30, 77, 2, 5, 5, 310, 33 },
		{ 12, 9, 2, 6, 3, 400, 25 },
	};
	static const char *const prompts[] = {
		"", "a", "bad cab", "\xE2\x82\xAC and e", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
	};

	for (int i = 0; i < 4; i++) {
		struct pair p;
		pair_init(&p, &shapes[i]);
		for (int k = 0; k < 15; k++) {
			struct sampler sampler = { (float)(k % 4) * 0.4f, k % 3 ? 0.9f : 1, 100 + (uint64_t)k };
			int steps = k == 7 ? 5 : shapes[i].seq_len;
			char got[4096], expected[4096];
			CHECK_EQ(write_text(&p, sampler, prompts[k % 5], steps, got),
				 write_naive_text(&p, sampler, prompts[k % 5], steps, expected));
			CHECK(!strcmp(got, expected));
		}
		pair_free(&p);
	}
}

/* The hash is 64-bit FNV-1a over the bytes of the logits, and only of those that were looked at. */
TEST(the_hash_covers_the_sampled_logits) {
	static const struct shape shape = { 12, 9, 2, 6, 3, 400, 25 };
	static const int prompt[] = { TOKEN_BOS, 5 };
	uint64_t expected = 0xCBF29CE484222325ull;
	struct text piece;
	struct pair p;
	char byte;

	pair_init(&p, &shape);
	struct generation g = { .tokenizer = &p.tokenizer, .candidates = p.candidates, .hash_logits = 1 };
	generation_start(&g, prompt, 2, 25);
	CHECK(generation_next(&g, NULL, &piece, &byte));
	CHECK(g.logits_hash == expected);
	for (int i = 0; i < 400; i++)
		p.transformer.logits[i] = (float)i;
	for (int i = 0; i < 1600; i++)
		expected = (expected ^ ((unsigned char *)p.transformer.logits)[i]) * 0x100000001B3ull;
	CHECK(generation_next(&g, p.transformer.logits, &piece, &byte));
	CHECK(g.logits_hash == expected);
	CHECK_EQ(g.token, 399);
	pair_free(&p);
}

/* A text that begins again on a used KV cache is the same: nothing of positions to come is looked at. */
TEST(a_used_cache_changes_nothing) {
	static const struct shape shape = { 64, 172, 2, 8, 4, 512, 30 };
	char first[4096], again[4096];
	struct pair p;

	pair_init(&p, &shape);
	write_text(&p, (struct sampler){ 1, 0.9f, 3 }, "abc", 30, first);
	write_text(&p, (struct sampler){ 1, 0.9f, 4 }, "e e", 30, again);
	write_text(&p, (struct sampler){ 1, 0.9f, 3 }, "abc", 30, again);
	CHECK(!strcmp(first, again));
	pair_free(&p);
}

int main(void) {
	RUN(options_have_defaults);
	RUN(options_are_read);
	RUN(bad_options_are_named);
	RUN(whole_texts_are_the_reference_s);
	RUN(the_hash_covers_the_sampled_logits);
	RUN(a_used_cache_changes_nothing);
	return check_result();
}
