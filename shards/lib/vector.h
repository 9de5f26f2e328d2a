/*
 * vector.h: four floats at a time with SSE, the arithmetic of transformer.c.
 *
 * A v4 adds, subtracts, multiplies and divides with the ordinary operators (GNU C vectors), one lane like the
 * other, each operation rounded as IEEE 754 says. There is no reciprocal square root (rsqrtss): processors and
 * QEMU give different results for it, while these are the same bits everywhere.
 *
 * Read next: transformer.c.
 */
#ifndef VECTOR_H
#define VECTOR_H

#define _MM_MALLOC_H_INCLUDED /* keeps xmmintrin.h from including the C library's stdlib.h */
#include <emmintrin.h>

#define LOG2_E 1.44269504f /* e^x = 2^(x * LOG2_E) */

typedef __m128 v4;

/* Loads four floats that need no alignment: the weights in a checkpoint have none. */
static inline v4 load4(const float *p) { return _mm_loadu_ps(p); }

/* Stores four floats that need no alignment. */
static inline void store4(float *p, v4 a) { _mm_storeu_ps(p, a); }

/* Returns one number in all four lanes. */
static inline v4 splat(float a) { return _mm_set1_ps(a); }

/* Returns the sums of the lanes of a, b, c and d in the four lanes of one vector: a 4x4 transpose and three
 * additions. */
static inline v4 sum_lanes(v4 a, v4 b, v4 c, v4 d) {
	v4 ab = _mm_unpacklo_ps(a, b) + _mm_unpackhi_ps(a, b); /* a0+a2 b0+b2 a1+a3 b1+b3 */
	v4 cd = _mm_unpacklo_ps(c, d) + _mm_unpackhi_ps(c, d);

	return _mm_movelh_ps(ab, cd) + _mm_movehl_ps(cd, ab);
}

/* Returns the sum of the lanes. */
static inline float sum4(v4 a) { return _mm_cvtss_f32(sum_lanes(a, a, a, a)); }

/* Returns the largest lane in all four lanes. */
static inline v4 max_lane(v4 a) {
	a = _mm_max_ps(a, _mm_movehl_ps(a, a));
	a = _mm_max_ps(a, _mm_shuffle_ps(a, a, 0x11));
	return _mm_shuffle_ps(a, a, 0);
}

/* Returns the square root, correctly rounded. */
static inline float square_root(float a) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(a))); }

/* Returns 2^x in each lane, wrong by less than 3e-7 of it; 0 below -126.5, and 2^127 above 127.
 *
 * 2^x = 2^k * 2^r with k = round(x) and |r| <= 1/2. Adding 1.5 * 2^23 rounds to an integer and leaves k in the low bits
 * of the sum, from where it is shifted into the exponent of 1.0. 2^r is the minimax polynomial of degree 5 that is
 * exact, with its slope, at 0. */
static inline v4 exp2_4(v4 x) {
	v4 magic = splat(12582912.0f), shifted, r, series;
	__m128i power;

	x = _mm_min_ps(_mm_max_ps(x, splat(-127.0f)), splat(127.0f));
	shifted = x + magic;
	r = x - (shifted - magic);
	series = splat(0.00133002264f) * r + splat(0.00966975881f);
	series = series * r + splat(0.055505603f);
	series = series * r + splat(0.240222809f);
	series = series * r + splat(0.693147181f);
	series = series * r + splat(1.0f);
	power = _mm_slli_epi32(_mm_add_epi32(_mm_castps_si128(shifted), _mm_set1_epi32(127)), 23);
	return series * _mm_castsi128_ps(power);
}

#endif
