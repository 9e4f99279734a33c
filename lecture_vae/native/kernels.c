/* Training on one core of a CPU in one call: the layers of a model forward, backward in reverse
 * order, and Adam. plan.py makes the Plan from a model's own modules.
 *
 * Kingma & Welling (2014), arXiv:1312.6114, for the loss; Kingma & Ba (2015), arXiv:1412.6980, for
 * Adam. */
#include "layers.h"

/* The images of a batch to the first node, and as rows; x: row-major pixels of an image */
static void load(const Plan *k, const float *const x[B]) {
  const Node *n = k->node + k->images;
  Map a = map(n, n->a);
  for (int b = 0; b < B; b++) memcpy(k->rows + b * PIXELS, x[b], sizeof(float) * PIXELS);
  for (int p = 0; p < PIXELS; p += 16)
    for (int b = 0; b < B; b += 16)
      transpose16(k->rows + b * PIXELS + p, PIXELS, at(a, 0, p / SIDE, p % SIDE) + b, B);
}

/* z = mu + sigma eps, and the KL to N(0, I): 1/2 sum (mu^2 + exp(log_var) - 1 - log_var) */
static void draw(const Plan *k, const float *eps, float kl[B]) {
  const Node *n = k->node + k->mu, *zn = k->node + k->z;
  Map mu = map(n, n->a), log_var = map(k->node + k->log_var, k->node[k->log_var].a), z = map(zn, zn->a);
  int j = 0; /* of the latents, in row-major order */
  EACH_ROW(n, c)
    for (int x = 0; x < n->width; x++, j++) {
      for (int b = 0; b < B; b++) k->noise[j * B + b] = eps[b * k->latents + j];
      ROW(b) {
        v m = AT(at(mu, c, y, x) + b), l = AT(at(log_var, c, y, x) + b), rest = expm1_(l);
        v sigma = AT(k->sigma + j * B + b) = exp_(0.5f * l);
        AT(k->expm1 + j * B + b) = rest;
        AT(at(z, c, y, x) + b) = m + sigma * AT(k->noise + j * B + b);
        AT(kl + b) += 0.5f * (m * m + rest - l);
      }
    }
}

/* distortion of each image, and its gradient in the node `out`. Gaussian: the squared error.
 * Bernoulli: the cross-entropy max(u, 0) - u x + log(1 + exp(-|u|)) of logits u. */
static void compare(const Plan *k, float distortion[B]) {
  const Node *n = k->node + k->out, *images = k->node + k->images;
  Map u = map(n, n->a), d = map(n, n->d), x = map(images, images->a);
  float weight = k->distortion_weight / B;
  for (int y = 0; y < SIDE; y++) {
    ROW(b) {
      v sum = {0};
      for (int i = 0; i < SIDE; i++) {
        v out = AT(at(u, 0, y, i) + b), t = AT(at(x, 0, y, i) + b), r;
        if (k->bernoulli) {
          r = sigmoid(out) - t;
          sum += relu(out) - out * t + log1p_(exp_(-absolute(out)));
        } else {
          r = out - t;
          sum += r * r, r *= 2;
        }
        AT(at(d, 0, y, i) + b) = weight * r;
      }
      AT(distortion + b) += sum;
    }
  }
}

static void forwards(const Plan *k, const float *const x[B], const float *eps, int mode, float distortion[B], float kl[B]) {
  memset(distortion, 0, sizeof(float) * B), memset(kl, 0, sizeof(float) * B);
  load(k, x);
  for (int i = 0; i < k->encoder_layers; i++) forward(k, k->layer + i, mode);
  if (k->log_var >= 0) draw(k, eps, kl);
  for (int i = k->encoder_layers; i < k->layers; i++) forward(k, k->layer + i, mode);
  compare(k, distortion);
}

static void backwards(const Plan *k) {
  for (int i = k->layers - 1; i >= k->encoder_layers; i--) backward(k, k->layer + i);
  if (k->log_var >= 0) {
    const Node *n = k->node + k->mu, *l = k->node + k->log_var, *zn = k->node + k->z;
    Map mu = map(n, n->a), d_mu = map(n, n->d), d_log_var = map(l, l->d), d_z = map(zn, zn->d);
    float weight = k->kl_weight / B;
    int j = 0;
    EACH_ROW(n, c)
      for (int x = 0; x < n->width; x++, j++)
        ROW(b) {
          v dz = AT(at(d_z, c, y, x) + b), noise = AT(k->noise + j * B + b);
          AT(at(d_mu, c, y, x) + b) = dz + weight * AT(at(mu, c, y, x) + b);
          AT(at(d_log_var, c, y, x) + b) =
              0.5f * (AT(k->sigma + j * B + b) * noise * dz + weight * AT(k->expm1 + j * B + b));
        }
  }
  for (int i = k->encoder_layers - 1; i >= 0; i--) backward(k, k->layer + i);
}

/* algorithm 1 of Kingma & Ba, in the order of torch.optim.Adam */
typedef struct { double lr, beta1, beta2, eps; } Adam;
static void update(const Plan *k, Adam o, int64_t step) {
  float lr = (float)(o.lr / (1 - pow(o.beta1, step))), root = (float)(1 / sqrt(1 - pow(o.beta2, step)));
  float b1 = (float)(1 - o.beta1), b2 = (float)(1 - o.beta2), keep = (float)o.beta2, eps = (float)o.eps;
  for (int i = 0; i < k->n_weights; i++) {
    float *restrict w = k->weights[i].values, *restrict m = k->weights[i].mean, *restrict s = k->weights[i].square;
    const float *restrict g = k->weights[i].gradient;
    for (int64_t j = 0; j < k->weights[i].size; j++) {
      m[j] += b1 * (g[j] - m[j]);
      s[j] = keep * s[j] + b2 * (g[j] * g[j]);
      w[j] -= lr * m[j] / (sqrtf(s[j]) * root + eps);
    }
  }
}

static float mean(const float x[B]) {
  v t = {0};
  ROW(b) t += AT(x + b);
  return total(t) / B;
}

/* Numbers below 1e-38 count as zero while the kernels run: a moment of Adam whose gradient has
 * become zero decays through that range, in which the processor takes a hundred times as long.
 * NEON needs no such thing. Returns what `restore_denormals` puts back. */
static unsigned flush_denormals(void) {
#ifdef __x86_64__
  unsigned before = __builtin_ia32_stmxcsr();
  __builtin_ia32_ldmxcsr(before | 0x8040); /* flush to zero, denormals are zero */
  return before;
#else
  return 0;
#endif
}
static void restore_denormals(unsigned before) {
#ifdef __x86_64__
  __builtin_ia32_ldmxcsr(before);
#else
  (void)before;
#endif
}

/* what Python compares with its own structures */
const int32_t struct_sizes[] = {sizeof(Plan), sizeof(Layer), sizeof(Node), sizeof(Weights), sizeof(Adam)};

/* `count` updates: index [count][B] into images [N][PIXELS], eps [count][B][latents]; terms
 * [count][2] receives the mean distortion and KL of each batch. */
void train_steps(const Plan *k, int64_t count, const float *images, const int64_t *index, const float *eps,
                 Adam optimizer, int64_t done, float *terms) {
  float distortion[B], kl[B];
  unsigned before = flush_denormals();
  for (int64_t i = 0; i < count; i++, index += B, eps += k->latents * B, terms += 2) {
    const float *x[B];
    for (int b = 0; b < B; b++) x[b] = images + index[b] * PIXELS;
    forwards(k, x, eps, TRAIN, distortion, kl);
    terms[0] = mean(distortion), terms[1] = mean(kl);
    backwards(k);
    update(k, optimizer, done + i + 1);
  }
  restore_denormals(before);
}

/* distortion [N], KL [N] and code [N][code size] of images [N][PIXELS], in eval mode. The last
 * batch is filled up with copies of its first image. */
void evaluate_images(const Plan *k, int64_t count, const float *images, const float *eps, float *distortion,
                     float *kl, float *code) {
  const Node *n = k->node + k->mu;
  Map a = map(n, n->a);
  int size = n->channels * n->height * n->width;
  float d[B], q[B];
  unsigned before = flush_denormals();
  for (int64_t i = 0; i < count; i += B) {
    int here = count - i < B ? (int)(count - i) : B;
    const float *x[B];
    for (int b = 0; b < B; b++) x[b] = images + (i + (b < here ? b : 0)) * PIXELS;
    memcpy(k->eps, eps + i * k->latents, sizeof(float) * here * k->latents);
    forwards(k, x, k->eps, EVALUATE, d, q);
    memcpy(distortion + i, d, sizeof(float) * here), memcpy(kl + i, q, sizeof(float) * here);
    int j = 0;
    EACH_ROW(n, c)
      for (int p = 0; p < n->width; p++, j++)
        for (int b = 0; b < here; b++) code[(i + b) * size + j] = at(a, c, y, p)[b];
  }
  restore_denormals(before);
}
