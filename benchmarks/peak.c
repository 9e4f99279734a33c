/* Multiply-adds in registers alone: the arithmetic limit of one core. */
#include "vectors.h"

enum { SUMS = 12 }; /* more than a multiply-add's latency times two, fewer than there are registers */

/* `count` rounds of SUMS multiply-adds of whole vectors; the sum, so that nothing is left out */
float multiply_adds(int64_t count) {
  v sum[SUMS], a = all(0.999f), b = all(1e-3f);
  for (int i = 0; i < SUMS; i++) sum[i] = all((float)i);
  for (int64_t n = 0; n < count; n++)
    for (int i = 0; i < SUMS; i++) sum[i] = sum[i] * a + b;
  float t = 0;
  for (int i = 0; i < SUMS; i++) t += total(sum[i]);
  return t;
}

/* floating-point operations of a round */
int operations(void) { return 2 * SUMS * VL; }
