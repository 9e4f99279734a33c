/* replay RECORDING RESULT: runs a recorded plan, the kernels alone without Python, so that sanitizers
 * see them and other processors can be emulated.
 *
 * The recording: two int64, the number of buffers and that of pointers; the size of each buffer in
 * bytes, an int64; the pointers; then the bytes of the buffers, one after another. Its first buffers
 * are those of the enum below. The result: the bytes of all buffers, after `steps` updates and an
 * evaluation.
 *
 * Each buffer is allocated on its own, with its exact size, so that a sanitizer sees its ends. */
#include "kernels.c"

#include <stdio.h>
#include <stdlib.h>

enum { PLAN, ADAM, COUNTS, IMAGES, INDEX, EPS, TERMS, TEST_IMAGES, TEST_EPS, DISTORTION, KL, CODE, FIXED };
typedef struct { int64_t steps, done, test_images; } Counts;
typedef struct { int64_t buffer, offset, to, to_offset; } Pointer;

static char **buffers; /* static: reachable at the end, hence no leak */
static int64_t *sizes, n_buffers;

static void stop(const char *message) {
  fprintf(stderr, "replay: %s\n", message);
  exit(1);
}

static void *room(int64_t bytes) {
  void *made = malloc(bytes);
  if (!made) stop("out of memory");
  return made;
}

static void fill(void *to, int64_t bytes, FILE *file) {
  if (fread(to, bytes, 1, file) != 1) stop("the recording is too short");
}

static void relocate(const Pointer *p) {
  if (p->offset + (int64_t)sizeof(char *) > sizes[p->buffer] || p->to_offset >= sizes[p->to])
    stop("a pointer lies or points outside of its buffer");
  char *address = buffers[p->to] + p->to_offset;
  memcpy(buffers[p->buffer] + p->offset, &address, sizeof address);
}

static void read_recording(FILE *file) {
  int64_t numbers[2];
  fill(numbers, sizeof numbers, file);
  n_buffers = numbers[0];
  if (n_buffers < FIXED) stop("the recording lacks buffers");
  sizes = room(n_buffers * sizeof *sizes);
  buffers = room(n_buffers * sizeof *buffers);
  fill(sizes, n_buffers * sizeof *sizes, file);
  Pointer *pointers = room(numbers[1] * sizeof *pointers);
  fill(pointers, numbers[1] * sizeof *pointers, file);
  for (int64_t i = 0; i < n_buffers; i++) fill(buffers[i] = room(sizes[i]), sizes[i], file);
  for (int64_t i = 0; i < numbers[1]; i++) relocate(pointers + i);
  free(pointers);
  if (sizes[PLAN] != sizeof(Plan) || sizes[ADAM] != sizeof(Adam) || sizes[COUNTS] != sizeof(Counts))
    stop("a structure has another size than in Python");
}

int main(int argc, char **argv) {
  if (argc != 3) stop("usage: replay RECORDING RESULT");
  FILE *file = fopen(argv[1], "rb");
  if (!file) stop("there is no such recording");
  read_recording(file);
  fclose(file);
  const Plan *plan = (const Plan *)buffers[PLAN];
  const Counts *counts = (const Counts *)buffers[COUNTS];
  train_steps(plan, counts->steps, (float *)buffers[IMAGES], (int64_t *)buffers[INDEX], (float *)buffers[EPS],
              *(Adam *)buffers[ADAM], counts->done, (float *)buffers[TERMS]);
  evaluate_images(plan, counts->test_images, (float *)buffers[TEST_IMAGES], (float *)buffers[TEST_EPS],
                  (float *)buffers[DISTORTION], (float *)buffers[KL], (float *)buffers[CODE]);
  file = fopen(argv[2], "wb");
  if (!file) stop("the result cannot be written");
  for (int64_t i = 0; i < n_buffers; i++)
    if (fwrite(buffers[i], sizes[i], 1, file) != 1) stop("the result cannot be written");
  if (fclose(file)) stop("the result cannot be written");
  return 0;
}
