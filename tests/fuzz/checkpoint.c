/*
 * Fuzz target: the weights of an accepted checkpoint lie in the file, whatever the header says.
 *
 * SOURCES: shards/lib/checkpoint.c
 * PLANT: if (size < floats * sizeof(float))
 * INTO: if (0)
 */
#include "checkpoint.h"
#include "fuzz.h"

/* Reads both ends of an array of a x b x c floats. */
static void touch_array(const float *array, int a, int b, int c) {
	touch(array, (size_t)a * (size_t)b * (size_t)c * sizeof(float));
}

/* Reads both ends of all arrays, the classifier as transformer.c does. */
static void touch_weights(const struct checkpoint *m) {
	touch_array(m->token_embedding, 1, m->vocab_size, m->dim);
	touch_array(m->attention_norm, 1, m->n_layers, m->dim);
	touch_array(m->wq, m->n_layers, m->dim, m->dim);
	touch_array(m->wk, m->n_layers, m->kv_dim, m->dim);
	touch_array(m->wv, m->n_layers, m->kv_dim, m->dim);
	touch_array(m->wo, m->n_layers, m->dim, m->dim);
	touch_array(m->ffn_norm, 1, m->n_layers, m->dim);
	touch_array(m->w1, m->n_layers, m->hidden_dim, m->dim);
	touch_array(m->w2, m->n_layers, m->dim, m->hidden_dim);
	touch_array(m->w3, m->n_layers, m->hidden_dim, m->dim);
	touch_array(m->final_norm, 1, 1, m->dim);
	touch_array(m->rope_cos, 1, m->seq_len, m->head_size / 2);
	touch_array(m->rope_sin, 1, m->seq_len, m->head_size / 2);
	touch_array(m->classifier, 1, m->vocab_size, m->dim);
}

/* The bytes are the file. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct checkpoint model;

	if (checkpoint_parse(&model, data, size) != NULL) return 0;
	REQUIRE(model.dim == model.n_heads * model.head_size && model.head_size % 2 == 0);
	REQUIRE(model.n_heads % model.n_kv_heads == 0 && model.kv_dim == model.n_kv_heads * model.head_size);
	touch_weights(&model);
	return 0;
}
