/* Trains the story model and samples from it: one plain C program, one thread, no libraries but libm.
 *
 * Owns the model's mathematics (a Llama-shaped transformer, forward and backward), the optimiser and the checkpoint
 * file, which is llama2.c's version 0: seven int32 (dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size,
 * seq_len), then float32 weights in the order of struct weights, then the two RoPE tables. The kernel uses none of it.
 *
 * A batch is a row of whole stories laid end to end, at most BATCH_TOKENS tokens. A story attends only to itself and
 * its positions begin at 0, so training sees exactly what generation sees: BOS, the story, BOS.
 * All activations are (token, feature), row-major; n is the number of tokens in the batch.
 *
 *   train TOKENS HELD_OUT OUT STEPS RATE [FROM]     train for STEPS steps with this peak learning rate, from the
 *                                       checkpoint FROM or from random weights; write the checkpoint OUT now and then,
 *                                       and at the end
 *   sample CHECKPOINT TOKENIZER TEMPERATURE TOPP FIRST_SEED COUNT     print samples as llama2.c's run.c would
 *   gradcheck                           compare the backward pass with finite differences on a tiny model
 *
 * Read next: struct shape, struct weights, forward(), backward(). Then model/README.md for the figures. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tgmath.h>
#include <time.h>

/* float for training; the gradient check is built with -DREAL=double, where finite differences are exact enough. */
#ifndef REAL
#define REAL float
#endif
typedef REAL real;

enum {
    BOS = 1,
    LANES = 64 / sizeof(real),  /* numbers in one 64-byte vector */
    STRIP = 2 * LANES,          /* columns that one matrix kernel call computes: a divisor of every width below */
    ROWS = 8,                   /* rows that one matrix kernel call computes */
    K_BLOCK = 256,              /* inner length after which a strip of b would leave the first-level cache */
    BATCH_TOKENS = 2048,
    MAX_STORIES = 256,          /* stories in one batch: the shortest has well over 16 tokens */
};

static const real NORM_EPSILON = 1e-5;
static const double RARE = 0.01;   /* share of the corpus below which a token counts as rare */
static const real REPEATED = 4;    /* weight of a rare token's later mentions */

struct shape {
    int dim, hidden, layers, heads, kv_heads, vocab, seq;  /* widths are multiples of STRIP, head size too */
};

static const struct shape STORY_SHAPE = {128, 256, 5, 4, 2, 2048, 256};
static const struct shape TINY_SHAPE = {64, 64, 2, 2, 1, 64, 32};

/* Pointers into one block of numbers; parameters, gradients and both AdamW moments each have such a block. */
struct weights {
    real *embedding;                 /* (vocab, dim), also the classifier */
    real *norm_attention;            /* (layer, dim) */
    real *wq, *wk, *wv, *wo;         /* (layer, dim, dim), twice (layer, kv_dim, dim), (layer, dim, dim) */
    real *norm_ffn;                  /* (layer, dim) */
    real *w1, *w2, *w3;              /* (layer, hidden, dim), (layer, dim, hidden), (layer, hidden, dim) */
    real *norm_final;                /* (dim) */
};

/* What the forward pass of one layer leaves for the backward pass; each (token, width). */
struct layer_state {
    real *in, *normed, *q, *k, *v, *mixed, *mid, *normed2, *gate, *up, *act;
};

struct trainer {
    struct shape shape;
    size_t parameters;
    real *values, *grads, *moment1, *moment2;   /* (parameters) each */
    struct weights w, g;
    real *cosines, *sines;                      /* (seq, head_size / 2) */
    struct layer_state *state;                  /* (layer) */
    real *last, *normed_last, *logits;          /* (token, dim), (token, dim), (token, vocab) */
    real *transposed;                           /* room for the largest matrix, transposed */
    real *dx, *dnormed, *dq, *dk, *dv, *dmixed, *dgate, *dup;
    real *scores, *dscores, *head;              /* (seq, seq) twice, (head_size, seq): one story, one head */
    int tokens[BATCH_TOKENS], targets[BATCH_TOKENS], positions[BATCH_TOKENS];
    real weights[BATCH_TOKENS];      /* how much each target counts in the gradient, see weigh() */
    int starts[MAX_STORIES + 1], stories, n;    /* story s is tokens[starts[s]] to tokens[starts[s + 1] - 1] */
};

/* ---------------------------------------------------------------- memory and randomness */

/* Returns zeroed room for count numbers, aligned to a vector; ends the program when there is none. */
static real *room(size_t count) {
    size_t bytes = (count * sizeof(real) + 63) / 64 * 64;
    real *block = aligned_alloc(64, bytes);
    if (!block) {
        fprintf(stderr, "train: out of memory (%zu bytes)\n", bytes);
        exit(1);
    }
    memset(block, 0, bytes);
    return block;
}

/* llama2.c's xorshift*: the next 32 random bits. */
static uint32_t random_bits(uint64_t *rng) {
    *rng ^= *rng >> 12;
    *rng ^= *rng << 25;
    *rng ^= *rng >> 27;
    return (*rng * 0x2545F4914F6CDD1Dull) >> 32;
}

/* The next random number in [0, 1). */
static float random_unit(uint64_t *rng) {
    return (random_bits(rng) >> 8) / 16777216.0f;
}

/* The next random number of the normal distribution N(0, 1), by Box and Muller. */
static double random_normal(uint64_t *rng) {
    double radius = sqrt(-2.0 * log(1.0 - (double)random_unit(rng)));
    return radius * cos(6.283185307179586 * (double)random_unit(rng));
}

/* ---------------------------------------------------------------- matrix product */

typedef real vec __attribute__((vector_size(64), aligned(sizeof(real)), may_alias));

/* c[rows x STRIP] += a[rows x k] * b[k x STRIP]; rows is a constant at each call, so that the sums live in
 * registers. */
static inline __attribute__((always_inline)) void kernel(int rows, int k, const real *a, size_t a_row, size_t a_col,
                                                         const real *b, size_t b_row, real *c, size_t c_row) {
    vec sum[ROWS][2];
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < 2; j++)
            sum[r][j] = *(const vec *)(c + r * c_row + j * LANES);
    for (int i = 0; i < k; i++) {
        const vec b0 = *(const vec *)(b + i * b_row), b1 = *(const vec *)(b + i * b_row + LANES);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const real x = a[r * a_row + i * a_col];
            sum[r][0] += x * b0;
            sum[r][1] += x * b1;
        }
    }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < 2; j++)
            *(vec *)(c + r * c_row + j * LANES) = sum[r][j];
}

/* c[m x cols] += a[m x k] * b[k x cols]. Element (r, i) of a is a[r * a_row + i * a_col], so a may be transposed;
 * b and c have contiguous rows. cols must be a multiple of STRIP. */
static void multiply_add(int m, int cols, int k, const real *a, size_t a_row, size_t a_col, const real *b, size_t b_row,
                         real *c, size_t c_row) {
    for (int k0 = 0; k0 < k; k0 += K_BLOCK) {
        const int length = k - k0 < K_BLOCK ? k - k0 : K_BLOCK;
        for (int j = 0; j < cols; j += STRIP) {
            const real *b_strip = b + k0 * b_row + j;
            int r = 0;
            for (; r + ROWS <= m; r += ROWS)
                kernel(ROWS, length, a + r * a_row + k0 * a_col, a_row, a_col, b_strip, b_row, c + r * c_row + j,
                    c_row);
            for (; r < m; r++)
                kernel(1, length, a + r * a_row + k0 * a_col, a_row, a_col, b_strip, b_row, c + r * c_row + j, c_row);
        }
    }
}

/* to[col][row] = from[row][col] for a rows x cols matrix whose rows lie from_row numbers apart, to_row in the
 * result. */
static void transpose(const real *from, int rows, int cols, size_t from_row, real *to, size_t to_row) {
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++)
            to[c * to_row + r] = from[r * from_row + c];
}

/* out[n x outs] = x[n x ins] * w^T, with w as llama2.c stores it: (outs, ins). */
static void linear(struct trainer *t, const real *x, const real *w, int ins, int outs, real *out) {
    transpose(w, outs, ins, ins, t->transposed, outs);
    memset(out, 0, sizeof(real) * t->n * outs);
    multiply_add(t->n, outs, ins, x, ins, 1, t->transposed, outs, out, outs);
}

/* Backward of linear: dx += dout * w and dw += dout^T * x. */
static void linear_back(struct trainer *t, const real *x, const real *w, const real *dout, int ins, int outs, real *dx,
                        real *dw) {
    multiply_add(t->n, ins, outs, dout, outs, 1, w, ins, dx, ins);
    multiply_add(outs, ins, t->n, dout, 1, outs, x, ins, dw, ins);
}

/* ---------------------------------------------------------------- setting up */

/* Points w's fields into block and returns how many numbers they take. The order is the checkpoint's. */
static size_t lay_out(struct weights *w, const struct shape *s, real *block) {
    const size_t layers = s->layers, dim = s->dim, hidden = s->hidden, kv = (size_t)dim * s->kv_heads / s->heads;
    real **fields[] = {&w->embedding, &w->norm_attention, &w->wq, &w->wk, &w->wv, &w->wo,
                       &w->norm_ffn, &w->w1, &w->w2, &w->w3, &w->norm_final};
    const size_t sizes[] = {s->vocab * dim, layers * dim, layers * dim * dim, layers * kv * dim, layers * kv * dim,
                            layers * dim * dim, layers * dim, layers * hidden * dim, layers * hidden * dim,
                            layers * hidden * dim, dim};
    size_t total = 0;
    for (size_t f = 0; f < sizeof sizes / sizeof *sizes; f++) {
        *fields[f] = block ? block + total : NULL;
        total += sizes[f];
    }
    return total;
}

/* Fills the RoPE tables: entry (position, pair) is the angle position / 10000^(2 pair / head_size). */
static void fill_rope(struct trainer *t) {
    const int head_size = t->shape.dim / t->shape.heads, half = head_size / 2;
    t->cosines = room((size_t)t->shape.seq * half);
    t->sines = room((size_t)t->shape.seq * half);
    for (int position = 0; position < t->shape.seq; position++)
        for (int pair = 0; pair < half; pair++) {
            const double angle = position / pow(10000.0, 2.0 * pair / head_size);
            t->cosines[position * half + pair] = cos(angle);
            t->sines[position * half + pair] = sin(angle);
        }
}

/* Returns a trainer with room for everything and all parameters zero. */
static struct trainer *new_trainer(struct shape s) {
    struct trainer *t = calloc(1, sizeof *t);
    if (!t)
        exit(1);
    t->shape = s;
    t->parameters = lay_out(&t->w, &s, NULL);
    t->values = room(t->parameters);
    t->grads = room(t->parameters);
    t->moment1 = room(t->parameters);
    t->moment2 = room(t->parameters);
    lay_out(&t->w, &s, t->values);
    lay_out(&t->g, &s, t->grads);
    fill_rope(t);
    const size_t n = BATCH_TOKENS, dim = s.dim, kv = dim * s.kv_heads / s.heads, hidden = s.hidden;
    t->state = calloc(s.layers, sizeof *t->state);
    for (int l = 0; l < s.layers; l++)
        t->state[l] = (struct layer_state){room(n * dim), room(n * dim), room(n * dim), room(n * kv), room(n * kv),
                                           room(n * dim), room(n * dim), room(n * dim), room(n * hidden),
                                           room(n * hidden), room(n * hidden)};
    t->last = room(n * dim), t->normed_last = room(n * dim), t->logits = room(n * s.vocab);
    t->transposed = room(dim * (s.vocab > s.hidden ? s.vocab : s.hidden));
    t->dx = room(n * dim), t->dnormed = room(n * dim), t->dmixed = room(n * dim), t->dq = room(n * dim);
    t->dk = room(n * kv), t->dv = room(n * kv), t->dgate = room(n * hidden), t->dup = room(n * hidden);
    t->scores = room((size_t)s.seq * s.seq), t->dscores = room((size_t)s.seq * s.seq);
    t->head = room(dim / s.heads * (size_t)s.seq);
    return t;
}

/* Gives every parameter its first value: N(0, 0.02), norms 1, and the matrices that write into the residual stream
 * divided by sqrt(2 layers), so that the stream does not grow with depth. */
static void randomize(struct trainer *t, uint64_t seed) {
    const struct shape *s = &t->shape;
    const double small = 0.02 / sqrt(2.0 * s->layers);
    for (size_t i = 0; i < t->parameters; i++)
        t->values[i] = 0.02 * random_normal(&seed);
    for (size_t i = 0; i < (size_t)s->layers * s->dim; i++)
        t->w.norm_attention[i] = t->w.norm_ffn[i] = 1;
    for (int i = 0; i < s->dim; i++)
        t->w.norm_final[i] = 1;
    for (size_t i = 0; i < (size_t)s->layers * s->dim * s->dim; i++)
        t->w.wo[i] *= small / 0.02;
    for (size_t i = 0; i < (size_t)s->layers * s->dim * s->hidden; i++)
        t->w.w2[i] *= small / 0.02;
}

/* ---------------------------------------------------------------- forward */

/* out = x / rms(x) * weight, a row at a time. */
static void rms_norm(int n, int dim, const real *x, const real *weight, real *out) {
    for (int r = 0; r < n; r++, x += dim, out += dim) {
        real squares = 0;
        for (int i = 0; i < dim; i++)
            squares += x[i] * x[i];
        const real scale = 1 / sqrt(squares / dim + NORM_EPSILON);
        for (int i = 0; i < dim; i++)
            out[i] = x[i] * scale * weight[i];
    }
}

/* Turns each pair of features by its token's angle; direction -1 turns back, which is the backward pass. */
static void rotate(const struct trainer *t, real *x, int width, int direction) {
    const int half = t->shape.dim / t->shape.heads / 2;
    for (int r = 0; r < t->n; r++, x += width) {
        const real *cosine = t->cosines + t->positions[r] * half, *sine = t->sines + t->positions[r] * half;
        for (int i = 0; i < width; i += 2) {
            const real c = cosine[i / 2 % half], s = direction * sine[i / 2 % half], x0 = x[i], x1 = x[i + 1];
            x[i] = x0 * c - x1 * s;
            x[i + 1] = x0 * s + x1 * c;
        }
    }
}

/* Rounds a story's length up to whole strips. */
static int strips(int length) {
    return (length + STRIP - 1) / STRIP * STRIP;
}

/* t->scores = softmax over the past of q k^T / sqrt(head_size), for one head of one story: (length, padded), zero for
 * the future and for the padding. q and k point at the head's first feature. */
static void attention_scores(struct trainer *t, const real *q, const real *k, int length) {
    const int dim = t->shape.dim, head_size = dim / t->shape.heads, kv_dim = head_size * t->shape.kv_heads;
    const int padded = strips(length);
    memset(t->head, 0, sizeof(real) * head_size * padded);
    transpose(k, length, head_size, kv_dim, t->head, padded);
    memset(t->scores, 0, sizeof(real) * length * padded);
    multiply_add(length, padded, head_size, q, dim, 1, t->head, padded, t->scores, padded);
    const real scale = 1 / sqrt((real)head_size);
    for (int r = 0; r < length; r++) {
        real *row = t->scores + r * padded, largest = row[0], sum = 0;
        for (int i = 1; i <= r; i++)
            largest = row[i] > largest ? row[i] : largest;
        for (int i = 0; i <= r; i++)
            row[i] = exp((row[i] - largest) * scale);
        for (int i = 0; i <= r; i++)
            sum += row[i];
        for (int i = 0; i <= r; i++)
            row[i] /= sum;
        memset(row + r + 1, 0, sizeof(real) * (padded - r - 1));
    }
}

/* mixed = for each token and head, the average of the values of its story's past, weighted by the scores. */
static void attention(struct trainer *t, struct layer_state *s) {
    const int dim = t->shape.dim, heads = t->shape.heads, head_size = dim / heads, group = heads / t->shape.kv_heads;
    const size_t kv_dim = (size_t)head_size * t->shape.kv_heads;
    memset(s->mixed, 0, sizeof(real) * t->n * dim);
    for (int story = 0; story < t->stories; story++) {
        const size_t start = t->starts[story];
        const int length = t->starts[story + 1] - start;
        for (int h = 0; h < heads; h++) {
            const size_t at = start * dim + h * head_size, kv_at = start * kv_dim + h / group * head_size;
            attention_scores(t, s->q + at, s->k + kv_at, length);
            multiply_add(length, head_size, length, t->scores, strips(length), 1, s->v + kv_at, kv_dim, s->mixed + at,
                dim);
        }
    }
}

/* One layer: in -> the next layer's in (out). Leaves in t->state[l] all that layer_back needs. */
static void layer_forward(struct trainer *t, int l, real *out) {
    const int dim = t->shape.dim, hidden = t->shape.hidden, kv = dim * t->shape.kv_heads / t->shape.heads, n = t->n;
    const size_t square = (size_t)dim * dim, narrow = (size_t)dim * kv, wide = (size_t)dim * hidden;
    struct layer_state *s = &t->state[l];
    rms_norm(n, dim, s->in, t->w.norm_attention + l * dim, s->normed);
    linear(t, s->normed, t->w.wq + l * square, dim, dim, s->q);
    linear(t, s->normed, t->w.wk + l * narrow, dim, kv, s->k);
    linear(t, s->normed, t->w.wv + l * narrow, dim, kv, s->v);
    rotate(t, s->q, dim, 1);
    rotate(t, s->k, kv, 1);
    attention(t, s);
    linear(t, s->mixed, t->w.wo + l * square, dim, dim, s->mid);
    for (int i = 0; i < n * dim; i++)
        s->mid[i] += s->in[i];
    rms_norm(n, dim, s->mid, t->w.norm_ffn + l * dim, s->normed2);
    linear(t, s->normed2, t->w.w1 + l * wide, dim, hidden, s->gate);
    linear(t, s->normed2, t->w.w3 + l * wide, dim, hidden, s->up);
    for (int i = 0; i < n * hidden; i++)
        s->act[i] = s->gate[i] / (1 + exp(-s->gate[i])) * s->up[i];
    linear(t, s->act, t->w.w2 + l * wide, hidden, dim, out);
    for (int i = 0; i < n * dim; i++)
        out[i] += s->mid[i];
}

/* Turns each row of logits into probabilities and returns the batch's mean loss, in nats a token. */
static double softmax_loss(struct trainer *t) {
    const int vocab = t->shape.vocab;
    double loss = 0;
    for (int r = 0; r < t->n; r++) {
        real *row = t->logits + (size_t)r * vocab, largest = row[0], sum = 0;
        for (int i = 1; i < vocab; i++)
            largest = row[i] > largest ? row[i] : largest;
        for (int i = 0; i < vocab; i++)
            row[i] = exp(row[i] - largest);
        for (int i = 0; i < vocab; i++)
            sum += row[i];
        for (int i = 0; i < vocab; i++)
            row[i] /= sum;
        loss -= log((double)row[t->targets[r]] + 1e-30);
    }
    return loss / t->n;
}

/* Runs the batch through the model; leaves the logits of every token. */
static void forward(struct trainer *t) {
    const int dim = t->shape.dim, layers = t->shape.layers;
    for (int r = 0; r < t->n; r++)
        memcpy(t->state[0].in + (size_t)r * dim, t->w.embedding + (size_t)t->tokens[r] * dim, sizeof(real) * dim);
    for (int l = 0; l < layers; l++)
        layer_forward(t, l, l + 1 < layers ? t->state[l + 1].in : t->last);
    rms_norm(t->n, dim, t->last, t->w.norm_final, t->normed_last);
    linear(t, t->normed_last, t->w.embedding, dim, t->shape.vocab, t->logits);
}

/* ---------------------------------------------------------------- backward */

/* Backward of rms_norm: adds to dx and dweight what dout asks for. */
static void rms_norm_back(int n, int dim, const real *x, const real *weight, const real *dout, real *dx,
	real *dweight) {
    for (int r = 0; r < n; r++, x += dim, dout += dim, dx += dim) {
        real squares = 0, dot = 0;
        for (int i = 0; i < dim; i++) {
            squares += x[i] * x[i];
            dot += dout[i] * weight[i] * x[i];
        }
        const real scale = 1 / sqrt(squares / dim + NORM_EPSILON), pull = dot * scale * scale * scale / dim;
        for (int i = 0; i < dim; i++) {
            dweight[i] += dout[i] * x[i] * scale;
            dx[i] += dout[i] * weight[i] * scale - x[i] * pull;
        }
    }
}

/* Backward of one head of one story: from dmixed to dq, dk, dv, which it adds to. The scores are computed again, which
 * is cheaper than keeping them. The pointers point at the head's first feature. */
static void head_back(struct trainer *t, const real *q, const real *k, const real *v, const real *dmixed, real *dq,
                      real *dk, real *dv, int length) {
    const int dim = t->shape.dim, head_size = dim / t->shape.heads, kv_dim = head_size * t->shape.kv_heads;
    const int padded = strips(length);
    const real scale = 1 / sqrt((real)head_size);
    attention_scores(t, q, k, length);
    multiply_add(length, head_size, length, t->scores, 1, padded, dmixed, dim, dv, kv_dim);
    memset(t->head, 0, sizeof(real) * head_size * padded);
    transpose(v, length, head_size, kv_dim, t->head, padded);
    memset(t->dscores, 0, sizeof(real) * length * padded);
    multiply_add(length, padded, head_size, dmixed, dim, 1, t->head, padded, t->dscores, padded);
    for (int r = 0; r < length; r++) {
        real *row = t->dscores + r * padded, dot = 0;
        const real *p = t->scores + r * padded;
        for (int i = 0; i <= r; i++)
            dot += row[i] * p[i];
        for (int i = 0; i < padded; i++)  /* p is zero in the future and in the padding */
            row[i] = p[i] * (row[i] - dot) * scale;
    }
    multiply_add(length, head_size, length, t->dscores, padded, 1, k, kv_dim, dq, dim);
    multiply_add(length, head_size, length, t->dscores, 1, padded, q, dim, dk, kv_dim);
}

/* Backward of attention, for all stories and heads: fills t->dq, t->dk, t->dv from t->dmixed. */
static void attention_back(struct trainer *t, struct layer_state *s) {
    const int dim = t->shape.dim, heads = t->shape.heads, head_size = dim / heads, group = heads / t->shape.kv_heads;
    const size_t kv_dim = (size_t)head_size * t->shape.kv_heads;
    memset(t->dq, 0, sizeof(real) * t->n * dim);
    memset(t->dk, 0, sizeof(real) * t->n * kv_dim);
    memset(t->dv, 0, sizeof(real) * t->n * kv_dim);
    for (int story = 0; story < t->stories; story++) {
        const size_t start = t->starts[story];
        for (int h = 0; h < heads; h++) {
            const size_t at = start * dim + h * head_size, kv_at = start * kv_dim + h / group * head_size;
            head_back(t, s->q + at, s->k + kv_at, s->v + kv_at, t->dmixed + at, t->dq + at, t->dk + kv_at,
                      t->dv + kv_at, t->starts[story + 1] - start);
        }
    }
    rotate(t, t->dq, dim, -1);
    rotate(t, t->dk, kv_dim, -1);
}

/* Backward of the layer's second half: t->dx holds d(out) and becomes d(mid). */
static void ffn_back(struct trainer *t, int l) {
    const int dim = t->shape.dim, hidden = t->shape.hidden, n = t->n;
    const size_t wide = (size_t)dim * hidden;
    struct layer_state *s = &t->state[l];
    real *dact = t->dup;  /* d(act) is read before d(up) is written, element by element */
    memset(dact, 0, sizeof(real) * n * hidden);
    linear_back(t, s->act, t->w.w2 + l * wide, t->dx, hidden, dim, dact, t->g.w2 + l * wide);
    for (int i = 0; i < n * hidden; i++) {
        const real sigmoid = 1 / (1 + exp(-s->gate[i])), silu = s->gate[i] * sigmoid, d = dact[i];
        t->dgate[i] = d * s->up[i] * (sigmoid + silu * (1 - sigmoid));
        t->dup[i] = d * silu;
    }
    memset(t->dnormed, 0, sizeof(real) * n * dim);
    linear_back(t, s->normed2, t->w.w1 + l * wide, t->dgate, dim, hidden, t->dnormed, t->g.w1 + l * wide);
    linear_back(t, s->normed2, t->w.w3 + l * wide, t->dup, dim, hidden, t->dnormed, t->g.w3 + l * wide);
    rms_norm_back(n, dim, s->mid, t->w.norm_ffn + l * dim, t->dnormed, t->dx, t->g.norm_ffn + l * dim);
}

/* Backward of one layer: t->dx holds d(out) and becomes d(in). */
static void layer_back(struct trainer *t, int l) {
    const int dim = t->shape.dim, kv = dim * t->shape.kv_heads / t->shape.heads, n = t->n;
    const size_t square = (size_t)dim * dim, narrow = (size_t)dim * kv;
    struct layer_state *s = &t->state[l];
    ffn_back(t, l);
    memset(t->dmixed, 0, sizeof(real) * n * dim);
    linear_back(t, s->mixed, t->w.wo + l * square, t->dx, dim, dim, t->dmixed, t->g.wo + l * square);
    attention_back(t, s);
    memset(t->dnormed, 0, sizeof(real) * n * dim);
    linear_back(t, s->normed, t->w.wq + l * square, t->dq, dim, dim, t->dnormed, t->g.wq + l * square);
    linear_back(t, s->normed, t->w.wk + l * narrow, t->dk, dim, kv, t->dnormed, t->g.wk + l * narrow);
    linear_back(t, s->normed, t->w.wv + l * narrow, t->dv, dim, kv, t->dnormed, t->g.wv + l * narrow);
    rms_norm_back(n, dim, s->in, t->w.norm_attention + l * dim, t->dnormed, t->dx, t->g.norm_attention + l * dim);
}

/* Computes all gradients of the batch's weighted mean loss. Call after forward() and softmax_loss(), whose
 * probabilities become d(logits) in place. */
static void backward(struct trainer *t) {
    const int dim = t->shape.dim, vocab = t->shape.vocab, n = t->n;
    memset(t->grads, 0, sizeof(real) * t->parameters);
    real whole = 0;
    for (int r = 0; r < n; r++)
        whole += t->weights[r];
    for (int r = 0; r < n; r++) {
        real *row = t->logits + (size_t)r * vocab;
        row[t->targets[r]] -= 1;
        for (int i = 0; i < vocab; i++)
            row[i] *= t->weights[r] / whole;
    }
    memset(t->dnormed, 0, sizeof(real) * n * dim);
    memset(t->dx, 0, sizeof(real) * n * dim);
    linear_back(t, t->normed_last, t->w.embedding, t->logits, dim, vocab, t->dnormed, t->g.embedding);
    rms_norm_back(n, dim, t->last, t->w.norm_final, t->dnormed, t->dx, t->g.norm_final);
    for (int l = t->shape.layers - 1; l >= 0; l--)
        layer_back(t, l);
    for (int r = 0; r < n; r++)
        for (int i = 0; i < dim; i++)
            t->g.embedding[(size_t)t->tokens[r] * dim + i] += t->dx[(size_t)r * dim + i];
}

/* ---------------------------------------------------------------- optimiser */

static const double FINAL_SHARE = 0.02, BETA1 = 0.9, BETA2 = 0.99, DECAY = 0.01, CLIP = 1.0;
enum { WARM_UP = 200 };

/* The learning rate of this step: a straight line up, then half a cosine down to FINAL_SHARE of the peak. */
static double learning_rate(double peak, int step, int steps) {
    if (step < WARM_UP)
        return peak * (step + 1) / WARM_UP;
    const double progress = (double)(step - WARM_UP) / (steps - WARM_UP);
    return peak * (FINAL_SHARE + (1 - FINAL_SHARE) * 0.5 * (1 + cos(3.141592653589793 * progress)));
}

/* One AdamW step; gradients longer than CLIP altogether are scaled down to it first. */
static void update(struct trainer *t, int step, double rate) {
    double squares = 0;
    for (size_t i = 0; i < t->parameters; i++)
        squares += (double)t->grads[i] * t->grads[i];
    const real shrink = squares > CLIP * CLIP ? CLIP / sqrt(squares) : 1.0;
    const real b1 = BETA1, b2 = BETA2, keep = 1 - rate * DECAY;
    const real correct2 = 1 / sqrt(1 - pow(BETA2, step + 1)), pace = rate / (1 - pow(BETA1, step + 1));
    for (size_t i = 0; i < t->parameters; i++) {
        const real g = t->grads[i] * shrink;
        t->moment1[i] = b1 * t->moment1[i] + (1 - b1) * g;
        t->moment2[i] = b2 * t->moment2[i] + (1 - b2) * g * g;
        t->values[i] = t->values[i] * keep - pace * t->moment1[i] / (sqrt(t->moment2[i]) * correct2 + (real)1e-8);
    }
}

/* ---------------------------------------------------------------- stories and batches */

struct corpus {
    uint16_t *tokens;
    size_t *starts;   /* each story begins at its BOS and ends at the next one */
    int stories;
    int *order;       /* the order in which the stories are read, shuffled for each pass */
    int next;
    double *shares;   /* of each token among all the corpus' tokens */
    int *last_story;  /* in which each token was last seen by weigh(), or -1 */
};

/* Reads a file of u16 tokens written by `tokenizer.py encode`; every story must fit seq and vocab. */
static struct corpus read_corpus(const char *path, const struct shape *s) {
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        exit(1);
    }
    fseek(file, 0, SEEK_END);
    const size_t count = ftell(file) / sizeof(uint16_t);
    rewind(file);
    struct corpus c = {malloc(count * sizeof(uint16_t)), malloc((count + 1) * sizeof(size_t)), -1, NULL, 0,
                       calloc(s->vocab, sizeof(double)), malloc(s->vocab * sizeof(int))};
    if (!c.tokens || !c.starts || !c.shares || !c.last_story || fread(c.tokens, sizeof(uint16_t), count, file) != count)
        exit(1);
    fclose(file);
    for (size_t i = 0; i < count; i++) {
        if (c.tokens[i] >= s->vocab || (c.stories >= 0 && i - c.starts[c.stories] > (size_t)s->seq)) {
            fprintf(stderr, "%s: token %zu is beyond the vocabulary, or its story beyond %d tokens\n", path, i, s->seq);
            exit(1);
        }
        if (c.tokens[i] == BOS)
            c.starts[++c.stories] = i;
        c.shares[c.tokens[i]] += 1.0 / count;
    }
    for (int i = 0; i < s->vocab; i++)
        c.last_story[i] = -1;
    c.order = calloc(c.stories > 0 ? c.stories : 1, sizeof(int));
    for (int i = 0; i < c.stories; i++)
        c.order[i] = i;
    c.next = c.stories;
    return c;
}

/* Begins a new pass through the corpus in a new order (Fisher and Yates). */
static void shuffle(struct corpus *c, uint64_t *rng) {
    for (int i = c->stories - 1; i > 0; i--) {
        const int other = random_bits(rng) % (i + 1), kept = c->order[i];
        c->order[i] = c->order[other];
        c->order[other] = kept;
    }
    c->next = 0;
}

/* The weight of a target: REPEATED for a word that is rare in the corpus and has stood in this story before, 1 for all
 * others. Such words are the names and things that a story must keep straight, and only looking back finds them. */
static real weigh(struct corpus *c, int story, int token) {
    const int repeated = c->last_story[token] == story && c->shares[token] < RARE;
    c->last_story[token] = story;
    return repeated ? REPEATED : 1;
}

/* Fills the batch with the next whole stories, as many as fit; rng is NULL for a set that is read in file order. */
static void next_batch(struct trainer *t, struct corpus *c, uint64_t *rng) {
    t->n = t->stories = 0;
    while (t->stories < MAX_STORIES) {
        if (c->next == c->stories) {
            if (!rng)
                break;
            shuffle(c, rng);
        }
        const int story = c->order[c->next];
        const size_t start = c->starts[story];
        const int length = c->starts[story + 1] - start;
        if (t->n + length > BATCH_TOKENS)
            break;
        t->starts[t->stories++] = t->n;
        for (int i = 0; i < length; i++, t->n++) {
            t->tokens[t->n] = c->tokens[start + i];
            t->targets[t->n] = c->tokens[start + i + 1];
            t->positions[t->n] = i;
            t->weights[t->n] = weigh(c, story, t->targets[t->n]);
        }
        c->next++;
    }
    t->starts[t->stories] = t->n;
}

/* The mean loss over a whole corpus, in nats a token. */
static double evaluate(struct trainer *t, struct corpus *c) {
    double loss = 0, tokens = 0;
    for (c->next = 0; c->next < c->stories;) {
        next_batch(t, c, NULL);
        forward(t);
        loss += softmax_loss(t) * t->n;
        tokens += t->n;
    }
    return loss / tokens;
}

/* ---------------------------------------------------------------- checkpoint */

/* Writes numbers as float32; ends the program on an error. */
static void write_floats(FILE *file, const real *numbers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const float number = numbers[i];
        if (fwrite(&number, sizeof number, 1, file) != 1) {
            perror("writing the checkpoint");
            exit(1);
        }
    }
}

/* Writes the checkpoint described at the top of this file. */
static void write_checkpoint(const struct trainer *t, const char *path) {
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(&t->shape, sizeof t->shape, 1, file) != 1) {
        perror(path);
        exit(1);
    }
    const size_t rope = (size_t)t->shape.seq * (t->shape.dim / t->shape.heads / 2);
    write_floats(file, t->values, t->parameters);
    write_floats(file, t->cosines, rope);
    write_floats(file, t->sines, rope);
    if (fclose(file) != 0) {
        perror(path);
        exit(1);
    }
}

/* Returns a trainer holding a checkpoint's weights; only shapes that this program trains are accepted. */
static struct trainer *read_checkpoint(const char *path) {
    struct shape s;
    FILE *file = fopen(path, "rb");
    if (!file || fread(&s, sizeof s, 1, file) != 1) {
        perror(path);
        exit(1);
    }
    if (memcmp(&s, &STORY_SHAPE, sizeof s) != 0) {
        fprintf(stderr, "%s: this is not a checkpoint of the story model's shape\n", path);
        exit(1);
    }
    struct trainer *t = new_trainer(s);
    for (size_t i = 0; i < t->parameters; i++) {
        float number;
        if (fread(&number, sizeof number, 1, file) != 1) {
            fprintf(stderr, "%s: the file ends too early\n", path);
            exit(1);
        }
        t->values[i] = number;
    }
    fclose(file);
    return t;
}

/* ---------------------------------------------------------------- commands */

/* Trains for `steps` steps from fixed seeds, and from the checkpoint `from` unless it is NULL; writes the checkpoint
 * now and then, and at the end: same machine and compiler, same bytes. */
static int train(const char *tokens, const char *held_out, const char *out, int steps, double rate, const char *from) {
    struct trainer *t = from ? read_checkpoint(from) : new_trainer(STORY_SHAPE);
    struct corpus learned = read_corpus(tokens, &t->shape), held = read_corpus(held_out, &t->shape);
    uint64_t rng = 20250101;
    double seen = 0, recent = 0;
    const time_t start = time(NULL);
    if (!from)
        randomize(t, 42);
    printf("%zu parameters, %d stories, %d held out, %d steps\n", t->parameters, learned.stories, held.stories, steps);
    for (int step = 0; step < steps; step++) {
        next_batch(t, &learned, &rng);
        forward(t);
        recent += softmax_loss(t);
        seen += t->n;
        backward(t);
        update(t, step, learning_rate(rate, step, steps));
        if ((step + 1) % 100 == 0) {
            printf("step %d  loss %.4f  tokens %.2f M  seconds %ld", step + 1, recent / 100, seen / 1e6,
                   (long)(time(NULL) - start));
            recent = 0;
            if ((step + 1) % 500 == 0) {
                printf("  held out %.4f", evaluate(t, &held));
                write_checkpoint(t, out);
            }
            printf("\n");
            fflush(stdout);
        }
    }
    write_checkpoint(t, out);
    printf("held out %.4f, written to %s\n", evaluate(t, &held), out);
    return 0;
}

/* The tokenizer's strings: names[i] is token i, as decoded text. */
static char **read_tokenizer(const char *path, int vocab) {
    int32_t longest, length;
    float score;
    char **names = calloc(vocab, sizeof *names);
    FILE *file = fopen(path, "rb");
    if (!file || !names || fread(&longest, sizeof longest, 1, file) != 1) {
        perror(path);
        exit(1);
    }
    for (int i = 0; i < vocab; i++) {
        if (fread(&score, sizeof score, 1, file) != 1 || fread(&length, sizeof length, 1, file) != 1 || length < 0 ||
            length > longest || !(names[i] = calloc(1, length + 1)) ||
            fread(names[i], 1, length, file) != (size_t)length) {
            fprintf(stderr, "%s: token %d is damaged\n", path, i);
            exit(1);
        }
    }
    fclose(file);
    return names;
}

struct choice {
    float probability;
    int token;
};

/* Orders choices by falling probability, for qsort. */
static int by_probability(const void *a, const void *b) {
    const float x = ((const struct choice *)a)->probability, y = ((const struct choice *)b)->probability;
    return (x < y) - (x > y);
}

/* Draws a token from the logits as llama2.c's sampler does: temperature, softmax, then either plain sampling or the
 * smallest set of tokens whose probabilities add up to topp. Temperature 0 takes the likeliest. */
static int sample_token(real *logits, int vocab, float temperature, float topp, uint64_t *rng) {
    static struct choice choices[1 << 16];
    int best = 0, kept = 0;
    for (int i = 1; i < vocab; i++)
        best = logits[i] > logits[best] ? i : best;
    if (temperature == 0)
        return best;
    float sum = 0, total = 0, reached = 0;
    const real largest = logits[best];
    for (int i = 0; i < vocab; i++)
        sum += logits[i] = exp((logits[i] - largest) / temperature);
    const float coin = random_unit(rng);
    const int nucleus = topp > 0 && topp < 1;
    const float cutoff = nucleus ? (1 - topp) / (vocab - 1) : 0;
    for (int i = 0; i < vocab; i++)
        if (logits[i] / sum >= cutoff)
            choices[kept++] = (struct choice){logits[i] / sum, i};
    if (nucleus) {
        qsort(choices, kept, sizeof *choices, by_probability);
        int last = 0;
        for (; last < kept && total <= topp; last++)
            total += choices[last].probability;
        kept = last;
    } else {
        total = 1;
    }
    for (int i = 0; i < kept; i++) {
        reached += choices[i].probability;
        if (coin * total < reached)
            return choices[i].token;
    }
    return choices[kept - 1].token;
}

/* Prints one story to stdout: a line "== seed N, ended" (or "cut" when seq tokens did not suffice), then the text.
 * The whole past is computed anew for every token: slow, but it is the very code that was trained. */
static void sample_story(struct trainer *t, char **names, float temperature, float topp, uint64_t seed) {
    static char text[1 << 16];
    uint64_t rng = seed;
    int ended = 0;
    size_t used = 0;
    t->stories = 1;
    t->tokens[0] = BOS;
    for (t->n = 1; t->n <= t->shape.seq && !ended; t->n++) {
        t->positions[t->n - 1] = t->n - 1;
        t->starts[1] = t->n;
        forward(t);
        real *logits = t->logits + (size_t)(t->n - 1) * t->shape.vocab;
        const int next = sample_token(logits, t->shape.vocab, temperature, topp, &rng);
        ended = next == BOS;
        if (!ended) {
            const char *name = t->tokens[t->n - 1] == BOS && names[next][0] == ' ' ? names[next] + 1 : names[next];
            used += snprintf(text + used, sizeof text - used, "%s", name);
            t->tokens[t->n] = next;
        }
    }
    printf("== seed %llu, %s\n%s\n", (unsigned long long)seed, ended ? "ended" : "cut", used ? text : "");
    fflush(stdout);
}

/* The loss of the batch, for the gradient check. */
static double loss_of(struct trainer *t) {
    forward(t);
    return softmax_loss(t);
}

/* Compares the backward pass with central differences at parameters spread over the whole block. Returns 0 when the
 * worst relative error is small. Build with -DREAL=double: float differences are too coarse to prove anything. */
static int gradcheck(void) {
    struct trainer *t = new_trainer(TINY_SHAPE);
    uint64_t rng = 7;
    double worst = 0;
    const double step = 1e-5;
    randomize(t, 3);
    for (size_t i = 0; i < t->parameters; i++)
        t->values[i] *= 5;  /* larger weights, so that no gradient is lost in rounding */
    t->stories = 2, t->starts[1] = 13, t->starts[2] = t->n = 30;
    for (int i = 0; i < t->n; i++) {
        t->tokens[i] = random_bits(&rng) % t->shape.vocab;
        t->targets[i] = random_bits(&rng) % t->shape.vocab;
        t->positions[i] = i < 13 ? i : i - 13;
        t->weights[i] = 1;
    }
    loss_of(t);
    backward(t);
    int checked = 0;
    for (size_t i = 0; i < t->parameters; i += 61, checked++) {
        const real kept = t->values[i];
        t->values[i] = kept + step;
        const double above = loss_of(t);
        t->values[i] = kept - step;
        const double below = loss_of(t);
        t->values[i] = kept;
        const double expected = (above - below) / (2 * step), error = fabs(expected - t->grads[i]);
        const double relative = error / (fabs(expected) + fabs((double)t->grads[i]) + 1e-4);
        worst = relative > worst ? relative : worst;
    }
    printf("gradcheck: %d of %zu parameters, worst relative error %.2e\n", checked, t->parameters, worst);
    return worst < 1e-4 ? 0 : 1;
}

int main(int argc, char **argv) {
    if ((argc == 7 || argc == 8) && strcmp(argv[1], "train") == 0)
        return train(argv[2], argv[3], argv[4], atoi(argv[5]), atof(argv[6]), argc == 8 ? argv[7] : NULL);
    if (argc == 8 && strcmp(argv[1], "sample") == 0) {
        struct trainer *t = read_checkpoint(argv[2]);
        char **names = read_tokenizer(argv[3], t->shape.vocab);
        for (int i = 0; i < atoi(argv[7]); i++)
            sample_story(t, names, atof(argv[4]), atof(argv[5]), strtoull(argv[6], NULL, 10) + i);
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "gradcheck") == 0)
        return gradcheck();
    fprintf(stderr, "usage: train train TOKENS HELD_OUT OUT STEPS RATE [FROM]\n"
                    "       train sample CHECKPOINT TOKENIZER TEMPERATURE TOPP FIRST_SEED COUNT\n"
                    "       train gradcheck\n");
    return 2;
}
