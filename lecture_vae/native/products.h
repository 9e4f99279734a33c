/* Matrix products and convolutions, batch innermost. */
#include "vectors.h"

/* ---- C[M][N] = A[M][K] X[K][N], where A[m][k] is a[m rs + k cs] ------------------------------- */

enum { KC = 64 }; /* rows of X that stay in the first cache */

/* a tile of C, `mr` rows of `nv` vectors: its sums stay in registers. Each block of K is summed from
 * zero, which loses fewer digits than one long sum. */
INLINE void block(int mr, int nv, int kc, const float *a, ptrdiff_t rs, ptrdiff_t cs, const float *x,
                  ptrdiff_t ldx, float *c, ptrdiff_t ldc, int add) {
  v sum[6][4];
  for (int m = 0; m < mr; m++)
    for (int n = 0; n < nv; n++) sum[m][n] = (v){0};
  for (int k = 0; k < kc; k++)
    for (int m = 0; m < mr; m++)
      for (int n = 0; n < nv; n++) sum[m][n] += a[m * rs + k * cs] * AT(x + k * ldx + VL * n);
  for (int m = 0; m < mr; m++)
    for (int n = 0; n < nv; n++) {
      float *p = c + m * ldc + VL * n;
      if (add) sum[m][n] += AT(p);
      AT(p) = sum[m][n];
    }
}
INLINE void panel(int nv, int M, int K, const float *a, ptrdiff_t rs, ptrdiff_t cs, const float *x,
                  ptrdiff_t ldx, float *c, ptrdiff_t ldc) {
#define BLOCKS(mr)                                                                                 \
  for (; m + mr <= M; m += mr)                                                                     \
    block(mr, nv, kc, a + m * rs + k * cs, rs, cs, x + k * ldx, ldx, c + m * ldc, ldc, k > 0)
  for (int k = 0; k < K; k += KC) {
    int kc = K - k < KC ? K - k : KC, m = 0;
    BLOCKS(6);
    BLOCKS(2);
    BLOCKS(1);
  }
}
/* N must be a multiple of 16 */
static void product(int M, int N, int K, const float *a, ptrdiff_t rs, ptrdiff_t cs, const float *x,
                    ptrdiff_t ldx, float *c, ptrdiff_t ldc) {
  int n = 0;
#define PANELS(nv)                                                                                 \
  for (; n + VL * (nv) <= N; n += VL * (nv)) panel(nv, M, K, a, rs, cs, x + n, ldx, c + n, ldc)
  PANELS(WIDE);
  PANELS(WIDE / 2);
  PANELS(1);
}

/* ---- feature maps: [channel][row][column][image], with a border of zeros ---------------------- */

typedef struct { /* values, their gradients, and what a normalization keeps */
  float *a, *d, *h;
  int32_t channels, height, width, border;
} Node;
typedef struct { /* data: the pixel (0, 0) of channel 0; distances in floats */
  float *data;
  ptrdiff_t row, plane;
} Map;

static Map map(const Node *n, float *data) {
  ptrdiff_t row = (ptrdiff_t)(n->width + 2 * n->border) * B;
  return (Map){data + n->border * (row + B), row, row * (n->height + 2 * n->border)};
}
INLINE float *at(Map m, int c, int y, int x) {
  return m.data + c * m.plane + y * m.row + (ptrdiff_t)x * B;
}
#define EACH_ROW(n, c)                                                                             \
  for (int c = 0; c < (n)->channels; c++)                                                          \
    for (int y = 0; y < (n)->height; y++)

/* ---- convolutions: from a fine map to a coarse one, and transposed, from coarse to fine ------- */

/* weights [coarse channels cc][fine channels fc][kh][kw], the layout of Conv2d and ConvTranspose2d;
 * (ch, cw), (fh, fw): sizes of the maps. A fully connected layer has maps of one pixel. */
typedef struct {
  int32_t cc, ch, cw, fc, fh, fw, kh, kw, stride_y, stride_x, pad_y, pad_x;
} Shape;

/* out[0:mr] = sum over taps t and channels c of w[t][c][0:mr] from[c] at offset[t] */
INLINE void tile(int mr, int nv, int taps, const int *tap, const ptrdiff_t *offset, int channels,
                 ptrdiff_t plane, const float *from, const float *w, int ldw, float *out,
                 ptrdiff_t ld_out) {
  v sum[8][4];
  for (int m = 0; m < mr; m++)
    for (int n = 0; n < nv; n++) sum[m][n] = (v){0};
  for (int t = 0; t < taps; t++) {
    const float *x = from + offset[t], *u = w + (ptrdiff_t)tap[t] * channels * ldw;
    for (int c = 0; c < channels; c++, x += plane, u += ldw)
      for (int m = 0; m < mr; m++)
        for (int n = 0; n < nv; n++) sum[m][n] += u[m] * AT(x + VL * n);
  }
  for (int m = 0; m < mr; m++)
    for (int n = 0; n < nv; n++) AT(out + m * ld_out + VL * n) = sum[m][n];
}
/* vectors in a tile: at most n, and a divisor of those in a batch */
#define FIT(n) ((B / VL) % (n) == 0 ? (n) : (B / VL) % 2 == 0 && (n) > 1 ? 2 : 1)
/* all channels of one pixel */
static void pixel(int taps, const int *tap, const ptrdiff_t *offset, int channels, ptrdiff_t plane,
                  const float *from, const float *w, int targets, float *out, ptrdiff_t ld_out) {
  int m = 0;
#define TILES(mr, nv)                                                                              \
  for (; m + mr <= targets; m += mr)                                                               \
    for (int n = 0; n < B; n += VL * (nv))                                                         \
      tile(mr, nv, taps, tap, offset, channels, plane, from + n, w + m, targets, out + m * ld_out + n, ld_out)
  if (VL != 8) TILES(8, FIT(2));
  TILES(4, FIT(WIDE));
  TILES(1, FIT(4));
}

/* coarse = convolution of fine; packed: room for the weights as [tap][fine][coarse] */
static void convolve(const Shape *s, const float *w, float *packed, Map fine, Map coarse) {
  int taps = s->kh * s->kw, tap[taps];
  ptrdiff_t offset[taps];
  for (int n = 0; n < s->cc; n++)
    for (int c = 0; c < s->fc; c++)
      for (int t = 0; t < taps; t++) packed[(t * s->fc + c) * s->cc + n] = w[(n * s->fc + c) * taps + t];
  for (int t = 0; t < taps; t++) tap[t] = t, offset[t] = t / s->kw * fine.row + t % s->kw * B;
  for (int y = 0; y < s->ch; y++)
    for (int x = 0; x < s->cw; x++)
      pixel(taps, tap, offset, s->fc, fine.plane,
            at(fine, 0, y * s->stride_y - s->pad_y, x * s->stride_x - s->pad_x), packed, s->cc,
            at(coarse, 0, y, x), coarse.plane);
}

/* fine = transposed convolution of coarse, gathered for each pixel */
static void convolve_transposed(const Shape *s, const float *w, float *packed, Map coarse, Map fine) {
  int all_taps = s->kh * s->kw, tap[all_taps];
  ptrdiff_t offset[all_taps];
  for (int n = 0; n < s->cc; n++)
    for (int c = 0; c < s->fc; c++)
      for (int t = 0; t < all_taps; t++)
        packed[(t * s->cc + n) * s->fc + c] = w[(n * s->fc + c) * all_taps + t];
  for (int y = 0; y < s->fh; y++)
    for (int x = 0; x < s->fw; x++) {
      int taps = 0;
      for (int t = 0; t < all_taps; t++) {
        int i = y + s->pad_y - t / s->kw, j = x + s->pad_x - t % s->kw;
        if (i < 0 || j < 0 || i % s->stride_y || j % s->stride_x) continue;
        i /= s->stride_y, j /= s->stride_x;
        if (i >= s->ch || j >= s->cw) continue;
        tap[taps] = t, offset[taps++] = i * coarse.row + (ptrdiff_t)j * B;
      }
      pixel(taps, tap, offset, s->cc, coarse.plane, coarse.data, packed, s->fc, at(fine, 0, y, x), fine.plane);
    }
}

/* g[m][j] = sum over pixels and images of coarse[n + m] window[j] */
INLINE void inner(int mr, int nj, const Shape *s, Map coarse, int n, const float *const *window,
                  ptrdiff_t row, float *g, int ldg) {
  v sum[4][6];
  for (int m = 0; m < mr; m++)
    for (int j = 0; j < nj; j++) sum[m][j] = (v){0};
  for (int y = 0; y < s->ch; y++)
    for (int x = 0; x < s->cw; x++) {
      const float *a = at(coarse, n, y, x);
      ptrdiff_t o = y * s->stride_y * row + (ptrdiff_t)x * s->stride_x * B;
      ROW(b)
        for (int j = 0; j < nj; j++)
          for (int m = 0; m < mr; m++) sum[m][j] += AT(a + m * coarse.plane + b) * AT(window[j] + o + b);
    }
  for (int m = 0; m < mr; m++)
    for (int j = 0; j < nj; j++) g[m * ldg + j] = total(sum[m][j]);
}
/* gradient of the weights of a convolution, plain or transposed */
static void convolution_gradient(const Shape *s, Map coarse, Map fine, float *g) {
  int taps = s->kh * s->kw, columns = s->fc * taps, n = 0;
  const float *window[columns];
  for (int j = 0; j < columns; j++) {
    int t = j % taps;
    window[j] = at(fine, j / taps, t / s->kw - s->pad_y, t % s->kw - s->pad_x);
  }
#define INNER(mr, nj) inner(mr, nj, s, coarse, n, window + j, fine.row, g + n * columns + j, columns), j += nj
  for (; n + 4 <= s->cc; n += 4)
    for (int j = 0; j < columns;) {
      if (VL == 16 && j + 6 <= columns) INNER(4, 6);
      else if (VL != 8 && j + 4 <= columns) INNER(4, 4);
      else if (j + 2 <= columns) INNER(4, 2);
      else INNER(4, 1);
    }
  for (; n < s->cc; n++)
    for (int j = 0; j < columns;) INNER(1, 1);
}
