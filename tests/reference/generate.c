/*
 * generate: prints the text that a model and its args stand for, by the reference in naive_llama.c.
 *
 *     generate model=FILE tokenizer=FILE [steps=N] [temperature=T] [topp=P] [seed=N] [prompt=...]
 *
 * The arguments and the text are those of llama-inference: tests compare its lines in the guest with this, byte for
 * byte. Only the reading of the arguments is shared with the shards.
 *
 * SOURCES: tests/reference/naive_llama.c shards/lib/args.c shards/lib/llama_options.c
 *
 * Read next: naive_llama.h.
 */
#include "hostfile.h"
#include "llama_options.h"
#include "naive_llama.h"

int main(int argc, char **argv) {
	struct llama_options options;
	struct naive_model *model;
	struct naive_tokenizer *tokenizer;
	struct naive_sampler sampler;
	const char *defect = llama_options_parse(&options, join_arguments(argc, argv));
	size_t size;
	int *prompt, n_prompt, token, next;
	char byte[2];

	if (defect) die("generate", defect);
	model = naive_model_new(host_file(options.model, &size));
	if ((size_t)naive_model_floats(model) * sizeof(float) + 28 != size)
		die("generate", "the model's size does not fit its header");
	tokenizer = naive_tokenizer_new(host_file(options.tokenizer, &size), model->vocab_size);
	prompt = host_memory((strlen(options.prompt) + 2) * sizeof(int));
	n_prompt = naive_encode(tokenizer, options.prompt, prompt);
	sampler = (struct naive_sampler){ options.temperature, options.top_p, options.seed };
	if (options.steps == 0 || options.steps > (uint64_t)model->seq_len) options.steps = (uint64_t)model->seq_len;

	token = prompt[0];
	for (int pos = 0; pos < (int)options.steps; pos++, token = next) {
		float *logits = naive_forward(model, token, pos);
		next = pos + 1 < n_prompt ? prompt[pos + 1] : naive_sample(&sampler, logits, model->vocab_size);
		if (next == 1) break;
		fputs(naive_decode(tokenizer, token, next, byte), stdout);
	}
	putchar('\n');
	return 0;
}
