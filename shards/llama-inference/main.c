/*
 * llama-inference: a Llama transformer that writes text, token by token.
 *
 *     model=/model.bin tokenizer=/tokenizer.bin steps=256 temperature=0 topp=0.9 seed=42 logits=0 prompt=
 *
 * are its args and their defaults. The model is any llama2.c checkpoint of version 0 (float32), the text is the same
 * as llama2.c's. The exit code is 1 when anything is wrong with the args or the files; one line then says what.
 *
 * Read next: lib/transformer.c for the model, lib/llama.c for the files and the memory, llama-pipeline/main.c for the
 * same over two shards.
 */
#include "coconut.h"
#include "llama.h"

int main(const char *args) {
	struct llama l;
	int64_t start;

	if (!llama_load_model(&l, "llama-inference", args) || !llama_load_text(&l) ||
	    !llama_start(&l, 0, l.model.n_layers - 1))
		return 1;
	start = coconut_time();
	do {
		transformer_embed(&l.transformer, l.generation.token);
		transformer_layers(&l.transformer, l.generation.pos);
	} while (llama_next(&l));
	llama_finish(&l, "llama-inference", coconut_time() - start);
	return 0;
}
