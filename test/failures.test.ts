import { expect, it } from 'vitest'
import { nativeCheck, run } from './support/native-check.js'

/** What libtorch puts after the first line of a CUDA error. */
const forDevelopers =
  '\nCUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect.' +
  '\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\nDevice-side assertions were explicitly omitted for this error check.\n'

const noMemory =
  'CUDA out of memory. Tried to allocate 2.00 GiB. GPU 3 has a total capacity of 79.18 GiB of which 1.06 GiB is free. ' +
  'Process 77 has 78.11 GiB memory in use.'

// The texts are those of libtorch 2.11 to 2.14 (c10/cuda/CUDACachingAllocator.cpp, CUDAException.cpp, ATen/cuda/Exceptions.h)
// with cudaGetErrorString's.
const table: [type: string, text: string, code: string, message: RegExp][] = [
  [
    'OutOfMemoryError',
    noMemory,
    'ERR_OUT_OF_MEMORY',
    /^cuda:3 is out of memory: CUDA out of memory\. .*\n.*smaller batch/,
  ],
  [
    'AcceleratorError',
    'CUDA error: out of memory',
    'ERR_OUT_OF_MEMORY',
    /^the CUDA device is out of memory.*\n.*smaller/,
  ],
  [
    'c10::Error',
    'CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`',
    'ERR_OUT_OF_MEMORY',
    /smaller batch/,
  ],
  [
    // As TorchScript hands on what an operator of it throws.
    'std::runtime_error',
    `The following operation failed in the TorchScript interpreter.\nTraceback:\nRuntimeError: ${noMemory}\n`,
    'ERR_OUT_OF_MEMORY',
    /^cuda:3 is out of memory: CUDA out of memory/,
  ],
  [
    'AcceleratorError',
    `CUDA error: CUDA driver version is insufficient for CUDA runtime version${forDevelopers}`,
    'ERR_DEVICE_UNAVAILABLE',
    /runtime version\n.*install a newer driver/,
  ],
  [
    'AcceleratorError',
    `CUDA error: no kernel image is available for execution on the device${forDevelopers}`,
    'ERR_DEVICE_UNAVAILABLE',
    /not built for GPUs of this generation/,
  ],
  [
    'AcceleratorError',
    `CUDA error: CUDA-capable device(s) is/are busy or unavailable${forDevelopers}`,
    'ERR_DEVICE_UNAVAILABLE',
    /compute mode/,
  ],
  [
    'c10::Error',
    'cuDNN error: CUDNN_STATUS_NOT_INITIALIZED',
    'ERR_DEVICE_UNAVAILABLE',
    /most often for lack of memory/,
  ],
  [
    'AcceleratorError',
    `CUDA error: an illegal memory access was encountered${forDevelopers}`,
    'ERR_DEVICE_FAILED',
    /^CUDA error: an illegal memory access was encountered\n.*start a new one/,
  ],
  ['AcceleratorError', 'CUDA error: unspecified launch failure', 'ERR_DEVICE_FAILED', /nvidia-smi -q/],
  ['c10::Error', 'CUDA driver error: unknown error', 'ERR_DEVICE_FAILED', /start a new one/],
  [
    'AcceleratorError',
    'CUDA error: operation not permitted when stream is capturing',
    'ERR_ENGINE',
    /^CUDA error: operation not permitted when stream is capturing$/,
  ],
  [
    'c10::Error',
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes.",
    'ERR_OUT_OF_MEMORY',
    /you tried to allocate 8 bytes.*\nUse a smaller batch/,
  ],
  ['std::bad_alloc', '', 'ERR_OUT_OF_MEMORY', /the host is out of memory/],
  ['c10::Error', 'The size of tensor a must match', 'ERR_ENGINE', /^The size of tensor a must match$/],
  ['Error', 'train/labels: too short', 'ERR_BAD_DATA', /^train\/labels: too short$/],
]

it('what C++ throws becomes a code and a message that says what to do', async () => {
  const args = table.flatMap((row) => row.slice(0, 2) as string[])
  const { stdout } = await run(await nativeCheck('failures'), args)
  const told = stdout.split('\0')
  for (const [i, [type, text, code, message]] of table.entries()) {
    expect(told[2 * i], `${type}: ${text}`).toBe(code)
    expect(told[2 * i + 1]).toMatch(message)
    // Nothing of what is for developers of libtorch.
    expect(told[2 * i + 1]).not.toMatch(/CUDA_LAUNCH_BLOCKING|stacktrace/)
  }
}, 300_000)
