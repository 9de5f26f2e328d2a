/*
 * llama_options.c: reads the args of the inference shards. Pure: no system calls, no memory.
 *
 * Read next: llama.c.
 */
#include "llama_options.h"

/* Stores one option. Returns NULL, or what is wrong with it. */
static const char *set_option(struct llama_options *options, struct text key, struct text value) {
	if (text_equals(key, "model")) {
		options->model = value;
		if (!value.len) return "model= wants a path";
	} else if (text_equals(key, "tokenizer")) {
		options->tokenizer = value;
		if (!value.len) return "tokenizer= wants a path";
	} else if (text_equals(key, "prompt") && value.start) {
		options->prompt = value.start;
	} else if (text_equals(key, "steps")) {
		if (!text_to_u64(value, &options->steps)) return "steps= wants a whole number";
	} else if (text_equals(key, "temperature")) {
		if (!text_to_float(value, &options->temperature)) return "temperature= wants a number such as 0.8";
	} else if (text_equals(key, "topp")) {
		if (!text_to_float(value, &options->top_p) || options->top_p > 1)
			return "topp= wants a number from 0 to 1";
	} else if (text_equals(key, "seed")) {
		if (!text_to_u64(value, &options->seed) || options->seed == 0)
			return "seed= wants a whole number above 0";
	} else if (text_equals(key, "logits")) {
		if (!text_to_u64(value, &options->logits) || options->logits > 1) return "logits= wants 0 or 1";
	} else {
		return "unknown argument: there are model= tokenizer= steps= temperature= topp= seed= logits= and, last, prompt=";
	}
	return NULL;
}

/* Fills `options` from `args`, which may be NULL and must outlive them. Returns NULL, or one sentence about the
 * first thing that is wrong. */
const char *llama_options_parse(struct llama_options *options, const char *args) {
	struct text key, value;
	const char *defect = NULL;

	*options = (struct llama_options){
		.model = { "/model.bin", 10 },
		.tokenizer = { "/tokenizer.bin", 14 },
		.steps = 256,
		.temperature = 0,
		.top_p = 0.9f,
		.seed = 42,
		.prompt = "",
	};
	while (!defect && args_next(&args, &key, &value))
		defect = set_option(options, key, value);
	return defect;
}
