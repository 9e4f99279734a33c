/* A layer, forward and backward: an affine map, then perhaps a bias or a batch normalization, then
 * perhaps an activation. */
#include "products.h"

/* COPY: the values of the input in another shape; CONSTANT: nothing but the bias */
enum { COPY, CONSTANT, LINEAR, CONVOLUTION, TRANSPOSED };
enum { NONE, RELU, SIGMOID };
enum { TRAIN, EVALUATE };

typedef struct {
  float *values, *gradient, *mean, *square; /* the last two: Adam's moments */
  int64_t size;
} Weights;
typedef struct {
  Shape shape;
  int32_t affine, activation, in, out;
  int32_t weight, bias, scale, shift; /* numbers of Weights; -1: none */
  float *running_mean, *running_var, *inverse; /* inverse: 1 / sqrt(variance + eps), by channel */
  float momentum, eps;
  int32_t from_images, passes_gradient, adds; /* adds: a layer that runs later reads `in` as well */
} Layer;
typedef struct {
  Layer *layer;
  Node *node;
  Weights *weights;
  float *rows, *packed, *spare, *turned; /* images as rows; room for weights, a map, rows of a layer */
  float *eps;                            /* noise of an evaluation, [image][latent] */
  float *noise, *sigma, *expm1;          /* [latent][image]; expm1: exp(log_var) - 1 */
  int32_t layers, encoder_layers, n_weights, images, mu, log_var, z, out, latents;
  int32_t bernoulli; /* else Gaussian pixels */
  float distortion_weight, kl_weight;
} Plan;

/* max(x, 0); NaN stays NaN, so that it reaches the loss and is reported */
INLINE v relu(v x) { return choose(x <= 0, (v){0}, x); }
INLINE v activate(int kind, v x) {
  if (kind == RELU) return relu(x);
  if (kind == SIGMOID) return sigmoid(x);
  return x;
}
/* from the output a and its gradient d, the gradient of the input */
INLINE v activation_gradient(int kind, v a, v d) {
  if (kind == RELU) return choose(a > 0, d, (v){0});
  if (kind == SIGMOID) return d * a * (1 - a);
  return d;
}

/* ---- batch normalization: h is the input, then (input - mean) * inverse ------------------------ */

static void normalize(const Layer *l, const Node *n, const float *scale, const float *shift, int mode) {
  Map h = map(n, n->h), a = map(n, n->a);
  int width = n->width * B;
  double count = (double)n->height * width;
  for (int c = 0; c < n->channels; c++) {
    float mean = l->running_mean[c], variance = l->running_var[c];
    float rest = 0; /* of the mean, in a second float: where it is much larger than the deviations */
    if (mode == TRAIN) {
      double sum = 0, squares = 0;
      for (int y = 0; y < n->height; y++) {
        v s = {0};
        for (int i = 0; i < width; i += VL) s += AT(at(h, c, y, 0) + i);
        sum += total(s);
      }
      mean = (float)(sum / count), rest = (float)(sum / count - mean);
      for (int y = 0; y < n->height; y++) {
        v q = {0};
        for (int i = 0; i < width; i += VL) {
          v e = AT(at(h, c, y, 0) + i) - mean - rest;
          q += e * e;
        }
        squares += total(q);
      }
      variance = (float)(squares / count);
      l->running_mean[c] += l->momentum * (mean - l->running_mean[c]);
      l->running_var[c] += l->momentum * ((float)(squares / (count - 1)) - l->running_var[c]);
    }
    float inverse = l->inverse[c] = 1 / sqrtf(variance + l->eps), w = scale[c], b = shift[c];
    for (int y = 0; y < n->height; y++) {
      float *p = at(h, c, y, 0), *o = at(a, c, y, 0);
      for (int i = 0; i < width; i += VL) {
        v e = (AT(p + i) - mean - rest) * inverse;
        AT(p + i) = e, AT(o + i) = activate(l->activation, w * e + b);
      }
    }
  }
}

static void normalize_backward(const Layer *l, const Node *n, const float *scale, float *d_scale, float *d_shift) {
  Map h = map(n, n->h), a = map(n, n->a), d = map(n, n->d);
  int width = n->width * B;
  float count = (float)n->height * width;
  for (int c = 0; c < n->channels; c++) {
    double sum = 0, products = 0;
    for (int y = 0; y < n->height; y++) {
      float *e = at(d, c, y, 0), *p = at(h, c, y, 0), *o = at(a, c, y, 0);
      v s = {0}, q = {0};
      for (int i = 0; i < width; i += VL) {
        v g = AT(e + i) = activation_gradient(l->activation, AT(o + i), AT(e + i));
        s += g, q += g * AT(p + i);
      }
      sum += total(s), products += total(q);
    }
    d_shift[c] = (float)sum, d_scale[c] = (float)products;
    float f = scale[c] * l->inverse[c], m0 = d_shift[c] / count, m1 = d_scale[c] / count;
    for (int y = 0; y < n->height; y++) {
      float *e = at(d, c, y, 0), *p = at(h, c, y, 0);
      for (int i = 0; i < width; i += VL) AT(e + i) = f * (AT(e + i) - m0 - AT(p + i) * m1);
    }
  }
}

/* ---- copies between maps with as many values in another shape --------------------------------- */

static void copy(const Node *from, Map source, const Node *to, Map target, int add) {
  int i = 0; /* of the values of an image, in row-major order */
  EACH_ROW(from, c)
    for (int x = 0; x < from->width; x++, i++) {
      const float *p = at(source, c, y, x);
      float *o = at(target, i / (to->height * to->width), i / to->width % to->height, i % to->width);
      if (!add) memcpy(o, p, sizeof(float) * B);
      else ROW(b) AT(o + b) += AT(p + b);
    }
}

/* ---- layers ----------------------------------------------------------------------------------- */

static void forward(const Plan *k, const Layer *l, int mode) {
  const Node *in = k->node + l->in, *out = k->node + l->out;
  const Weights *weights = k->weights;
  const Shape *s = &l->shape;
  float *to = l->scale >= 0 ? out->h : out->a, *w = l->weight >= 0 ? weights[l->weight].values : NULL;
  Map a = map(out, to);
  if (l->affine == COPY) copy(in, map(in, in->a), out, a, 0);
  if (l->affine == LINEAR) product(s->cc, B, s->fc, w, s->fc, 1, in->a, B, to, B);
  if (l->affine == CONVOLUTION) convolve(s, w, k->packed, map(in, in->a), a);
  if (l->affine == TRANSPOSED) convolve_transposed(s, w, k->packed, map(in, in->a), a);
  if (l->bias < 0 && l->scale < 0 && l->activation == NONE) return;
  if (l->bias >= 0 || l->scale < 0) { /* with a normalization the activation comes after it */
    int activation = l->scale >= 0 ? NONE : l->activation;
    EACH_ROW(out, c) {
      float *p = at(a, c, y, 0), b = l->bias >= 0 ? weights[l->bias].values[c] : 0;
      if (l->affine == CONSTANT) memset(p, 0, sizeof(float) * out->width * B);
      for (int i = 0; i < out->width * B; i += VL) AT(p + i) = activate(activation, AT(p + i) + b);
    }
  }
  if (l->scale >= 0) normalize(l, out, weights[l->scale].values, weights[l->shift].values, mode);
}

static void linear_gradient(const Plan *k, const Layer *l, const float *d, const float *a, float *g) {
  int outputs = l->shape.cc, inputs = l->shape.fc, whole = inputs / 16 * 16;
  const float *rows = k->rows;
  if (!l->from_images) { /* images lie as rows already */
    for (int i = 0; i < whole; i += 16)
      for (int b = 0; b < B; b += 16) transpose16(a + i * B + b, B, k->turned + b * inputs + i, inputs);
    rows = k->turned;
  }
  if (whole) product(outputs, whole, B, d, B, 1, rows, inputs, g, inputs);
  for (int n = 0; n < outputs; n++)
    for (int c = whole; c < inputs; c++) {
      v t = {0};
      ROW(b) t += AT(d + n * B + b) * AT(a + c * B + b);
      g[n * inputs + c] = total(t);
    }
}

static void backward(const Plan *k, const Layer *l) {
  const Node *in = k->node + l->in, *out = k->node + l->out;
  const Weights *weights = k->weights;
  const Shape *s = &l->shape;
  Map d = map(out, out->d), a = map(out, out->a);
  if (l->scale >= 0)
    normalize_backward(l, out, weights[l->scale].values, weights[l->scale].gradient, weights[l->shift].gradient);
  else if (l->activation != NONE)
    EACH_ROW(out, c)
      for (int i = 0; i < out->width * B; i += VL)
        AT(at(d, c, y, 0) + i) = activation_gradient(l->activation, AT(at(a, c, y, 0) + i), AT(at(d, c, y, 0) + i));
  if (l->bias >= 0) {
    float *g = weights[l->bias].gradient;
    memset(g, 0, sizeof(float) * out->channels);
    EACH_ROW(out, c) {
      v t = {0};
      for (int i = 0; i < out->width * B; i += VL) t += AT(at(d, c, y, 0) + i);
      g[c] += total(t);
    }
  }
  if (l->weight >= 0) {
    float *g = weights[l->weight].gradient;
    if (l->affine == LINEAR) linear_gradient(k, l, out->d, in->a, g);
    if (l->affine == CONVOLUTION) convolution_gradient(s, d, map(in, in->a), g);
    if (l->affine == TRANSPOSED) convolution_gradient(s, map(in, in->a), d, g);
  }
  if (!l->passes_gradient) return;
  float *w = l->weight >= 0 ? weights[l->weight].values : NULL;
  Map to = map(in, l->adds && l->affine != COPY ? k->spare : in->d);
  if (l->affine == COPY) copy(out, d, in, to, l->adds);
  if (l->affine == LINEAR) product(s->fc, B, s->cc, w, 1, s->fc, out->d, B, to.data, B);
  if (l->affine == CONVOLUTION) convolve_transposed(s, w, k->packed, d, to);
  if (l->affine == TRANSPOSED) convolve(s, w, k->packed, d, to);
  if (l->adds && l->affine != COPY) copy(in, to, in, map(in, in->d), 1);
}
