/* Vectors of floats, of the size that the processor's registers have.
 *
 * They are those of GCC and Clang: + and * act on each element, and a comparison gives a mask. The
 * batch is innermost in memory everywhere, so that a vector holds one feature of VL images. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef BATCH
#error "BATCH, the number of images in a batch, is given on the command line"
#endif
enum { B = BATCH, SIDE = 32, PIXELS = SIDE * SIDE };

/* VL: floats in a vector. WIDE: vectors side by side in a tile of a matrix product, so that its
 * sums fill the registers and none is spilled. */
#if defined(__AVX512F__)
enum { VL = 16, WIDE = 4 };
#elif defined(__AVX__)
enum { VL = 8, WIDE = 2 };
#else
enum { VL = 4, WIDE = 4 };
#endif
_Static_assert(B > 0 && B % 16 == 0, "a batch must be a multiple of 16 images");

typedef float v __attribute__((vector_size(4 * VL), aligned(4), may_alias));
typedef int32_t mask __attribute__((vector_size(4 * VL), aligned(4), may_alias));
typedef uint32_t bits __attribute__((vector_size(4 * VL), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))
#define AT(p) (*(v *)(p))
#define ROW(i) for (int i = 0; i < B; i += VL)

INLINE v all(float x) { return x - (v){0}; }
INLINE v choose(mask where, v a, v b) { return (v)((where & (mask)a) | (~where & (mask)b)); }
INLINE v absolute(v x) { return (v)((mask)x & 0x7fffffff); }
INLINE float total(v a) {
  float t = 0;
  for (int i = 0; i < VL; i++) t += a[i];
  return t;
}

/* (2^n, e^r - 1) with x = n log 2 + r and |r| <= log(2) / 2: the argument reduction and polynomial
 * of the Cephes library, relative error below 2e-7. Adding 1.5 * 2^23 rounds to an integer, which
 * is then in the low bits. Outside of +-88 n is at the end of its range; NaN stays NaN. */
typedef struct { v power, rest; } Exp;
INLINE Exp reduced_exp(v x) {
  const v magic = all(12582912.0f);
  x = choose(x < -87.3f, all(-87.3f), x);
  x = choose(x > 88.3f, all(88.3f), x);
  v shifted = x * 1.44269504088896341f + magic, n = shifted - magic;
  v r = x - n * 0.693359375f + n * 2.12194440e-4f, p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f, p = p * r + 4.1665795894e-2f, p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  return (Exp){(v)(((bits)shifted - (bits)magic + 127) << 23), p * r * r + r};
}
INLINE v exp_(v x) {
  Exp e = reduced_exp(x);
  return choose(x > 88.7f, all(INFINITY), e.power * e.rest + e.power);
}
/* e^x - 1 without cancellation near 0 */
INLINE v expm1_(v x) {
  Exp e = reduced_exp(x);
  return choose(x > 88.7f, all(INFINITY), e.power * e.rest + (e.power - 1));
}
/* log(1 + y) for 0 <= y <= 1: 2 artanh(s) with s = y / (2 + y) <= 1/3, relative error below 2e-8
 * before rounding */
INLINE v log1p_(v y) {
  v s = y / (2 + y), q = s * s, p = q * (1.0f / 13) + 1.0f / 11;
  p = p * q + 1.0f / 9, p = p * q + 1.0f / 7, p = p * q + 1.0f / 5, p = p * q + 1.0f / 3;
  return 2 * s + 2 * s * q * p;
}
INLINE v sigmoid(v x) { return 1 / (1 + exp_(-x)); }

/* to[j][i] = rows[i][j], 16 x 16: blocks of 8, 4, 2, 1 are swapped in registers */
typedef float w16 __attribute__((vector_size(64), aligned(4), may_alias));
#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else /* GCC has the other one only since version 12 */
typedef int32_t order16 __attribute__((vector_size(64)));
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (order16){__VA_ARGS__})
#endif
#define LIST(...) __VA_ARGS__
#define SWAP(s, first, second)                                                                     \
  for (int i = 0; i < 16; i++)                                                                     \
    if (!(i & s)) {                                                                                \
      w16 a = r[i], b = r[i | s];                                                                  \
      r[i] = SHUFFLE(a, b, first), r[i | s] = SHUFFLE(a, b, second);                               \
    }
INLINE void transpose16(const float *rows, size_t ld_rows, float *to, size_t ld_to) {
  w16 r[16];
  for (int i = 0; i < 16; i++) r[i] = *(const w16 *)(rows + i * ld_rows);
  SWAP(8, LIST(0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23),
       LIST(8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31))
  SWAP(4, LIST(0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27),
       LIST(4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31))
  SWAP(2, LIST(0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29),
       LIST(2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31))
  SWAP(1, LIST(0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30),
       LIST(1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31))
  for (int j = 0; j < 16; j++) *(w16 *)(to + j * ld_to) = r[j];
}
