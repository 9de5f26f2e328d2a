/*
 * greedy: prints the tokens that a model writes when it begins with token 0 and the likeliest one always follows.
 *
 *     greedy MODEL-FILE COUNT
 *
 * One number a line, by the reference in naive_llama.c. This is what a pipeline of the earlier implementation computes.
 *
 * Read next: naive_llama.h, tests/shards/old-pipeline/main.c.
 */
#include "hostfile.h"
#include "naive_llama.h"

int main(int argc, char **argv) {
	struct naive_model *model;
	size_t size;
	int token = 0, count;

	if (argc != 3) die("greedy", "there are two arguments");
	model = naive_model_new(host_file((struct text){ argv[1], strlen(argv[1]) }, &size));
	count = atoi(argv[2]);
	for (int pos = 0; pos < count; pos++) {
		float *logits = naive_forward(model, token, pos);
		token = 0;
		for (int i = 1; i < model->vocab_size; i++)
			if (logits[i] > logits[token]) token = i;
		printf("%d\n", token);
	}
	return 0;
}
