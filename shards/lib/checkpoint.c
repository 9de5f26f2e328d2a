/*
 * checkpoint.c: checks a checkpoint before anything is computed with it.
 *
 * The bounds on the header keep every product below 2^63, so that the sizes can be added up without overflow
 * and compared with the size of the file. After that no index that transformer.c computes leaves the file.
 *
 * Read next: transformer.c.
 */
#include "checkpoint.h"
#include "shardlib.h"

#define HEADER_INTS 7

/* Far above any model that this system can run, and small enough for the sums below. */
#define DIM_MAX    65536
#define LAYERS_MAX 1024
#define VOCAB_MAX  16777216
#define SEQ_MAX    1048576

/* What llama2.c's files begin with from version 1 on, "ak42"; the version follows. Version 0 has no such number. */
#define LATER_MAGIC 0x616b3432

/* Returns what is wrong with a file of a later version. */
static const char *later_version(int version) {
	if (version == 1)
		return "the file is of version 1 of llama2.c's format: export it as version 0 (export.py --version 0)";
	if (version == 2)
		return "the file is of version 2 of llama2.c's format: export it as version 0 (export.py --version 0)";
	return "the file is of a later version of llama2.c's format: export it as version 0 (export.py --version 0)";
}

/* Takes the header out of the file. A negative vocabulary means that the classifier is not the embedding.
 * Returns NULL, or what is wrong. */
static const char *read_header(struct checkpoint *model, const void *bytes, int *separate_classifier) {
	int header[HEADER_INTS];

	memcpy(header, bytes, sizeof(header));
	*separate_classifier = header[5] < 0;
	model->dim = header[0];
	model->hidden_dim = header[1];
	model->n_layers = header[2];
	model->n_heads = header[3];
	model->n_kv_heads = header[4];
	model->vocab_size = header[5] < -VOCAB_MAX ? 0 : *separate_classifier ? -header[5] : header[5];
	model->seq_len = header[6];

	if (header[0] == LATER_MAGIC) return later_version(header[1]);
	if (model->dim < 1 || model->dim > DIM_MAX) return "dim is not between 1 and 65536";
	if (model->hidden_dim < 1 || model->hidden_dim > DIM_MAX) return "hidden_dim is not between 1 and 65536";
	if (model->n_layers < 1 || model->n_layers > LAYERS_MAX) return "n_layers is not between 1 and 1024";
	if (model->vocab_size < 1 || model->vocab_size > VOCAB_MAX) return "vocab_size is not between 1 and 16777216";
	if (model->seq_len < 1 || model->seq_len > SEQ_MAX) return "seq_len is not between 1 and 1048576";
	if (model->n_heads < 1 || model->dim % model->n_heads) return "dim is no multiple of n_heads";
	if (model->n_kv_heads < 1 || model->n_heads % model->n_kv_heads) return "n_heads is no multiple of n_kv_heads";
	model->head_size = model->dim / model->n_heads;
	model->kv_dim = model->n_kv_heads * model->head_size;
	if (model->head_size % 2) return "the size of a head is odd, but RoPE rotates pairs";
	return NULL;
}

/* Gives the next array of a x b x c floats its place and moves past it. */
static const float *place(const float *start, size_t *floats, int a, int b, int c) {
	/* The address is computed as a number: it is only valid once the whole size has been compared. */
	const float *array = (const float *)((uintptr_t)start + *floats * sizeof(float));

	*floats += (size_t)a * (size_t)b * (size_t)c;
	return array;
}

/* Places every array in the order of the file. Returns the number of floats of the whole file. */
static size_t place_weights(struct checkpoint *m, const float *start, int separate_classifier) {
	size_t floats = HEADER_INTS;

	m->token_embedding = place(start, &floats, 1, m->vocab_size, m->dim);
	m->attention_norm = place(start, &floats, 1, m->n_layers, m->dim);
	m->wq = place(start, &floats, m->n_layers, m->dim, m->dim);
	m->wk = place(start, &floats, m->n_layers, m->kv_dim, m->dim);
	m->wv = place(start, &floats, m->n_layers, m->kv_dim, m->dim);
	m->wo = place(start, &floats, m->n_layers, m->dim, m->dim);
	m->ffn_norm = place(start, &floats, 1, m->n_layers, m->dim);
	m->w1 = place(start, &floats, m->n_layers, m->hidden_dim, m->dim);
	m->w2 = place(start, &floats, m->n_layers, m->dim, m->hidden_dim);
	m->w3 = place(start, &floats, m->n_layers, m->hidden_dim, m->dim);
	m->final_norm = place(start, &floats, 1, 1, m->dim);
	m->rope_cos = place(start, &floats, 1, m->seq_len, m->head_size / 2);
	m->rope_sin = place(start, &floats, 1, m->seq_len, m->head_size / 2);
	m->classifier = m->token_embedding;
	if (separate_classifier) m->classifier = place(start, &floats, 1, m->vocab_size, m->dim);
	return floats;
}

/* Describes the checkpoint in `bytes`, which must be 4-byte aligned and outlive `model`. Returns NULL, or one
 * sentence about the first thing that is wrong; `model` is then not to be used. */
const char *checkpoint_parse(struct checkpoint *model, const void *bytes, size_t size) {
	int separate_classifier;
	size_t floats;
	const char *defect;

	if (size < HEADER_INTS * sizeof(int)) return "the file is shorter than a checkpoint's header";
	defect = read_header(model, bytes, &separate_classifier);
	if (defect) return defect;
	floats = place_weights(model, bytes, separate_classifier);
	if (size < floats * sizeof(float))
		return "the file is truncated: its header promises more weights than it holds";
	if (size > floats * sizeof(float)) return "the file is longer than its header says";
	return NULL;
}
