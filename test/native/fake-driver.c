// A libcuda.so.1 that has the version and the answer to cuInit that the environment says: with it the CUDA run-time
// library meets drivers that no machine here has.
#include <stdlib.h>
#include <string.h>

static int asked(const char* name, int otherwise) {
  const char* value = getenv(name);
  return value ? atoi(value) : otherwise;
}

int cuDriverGetVersion(int* version) {
  *version = asked("FAKE_DRIVER_VERSION", 13000);
  return 0;
}

int cuInit(unsigned flags) {
  (void)flags;
  if (asked("FAKE_DRIVER_CRASH", 0)) abort();
  return asked("FAKE_DRIVER_INIT", 100);  // CUDA_ERROR_NO_DEVICE
}

static int unknown(void) { return 999; }

int cuGetProcAddress_v2(const char* symbol, void** function, int version, unsigned long long flags, void* status) {
  (void)version, (void)flags, (void)status;
  *function = strcmp(symbol, "cuDriverGetVersion") == 0 ? (void*)cuDriverGetVersion
              : strcmp(symbol, "cuInit") == 0           ? (void*)cuInit
              : strcmp(symbol, "cuGetProcAddress") == 0 ? (void*)cuGetProcAddress_v2
                                                        : (void*)unknown;
  return 0;
}

int cuGetProcAddress(const char* symbol, void** function, int version, unsigned long long flags) {
  return cuGetProcAddress_v2(symbol, function, version, flags, NULL);
}
