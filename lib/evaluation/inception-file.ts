/**
 * The Inception-v3 with which FIDs are published: the network of TensorFlow's release of 2015-12-05 as TorchScript, as NVIDIA distributes it
 * for StyleGAN2-ADA. Google published the network under the Apache License 2.0.
 */
export const inceptionFile = {
  name: 'inception-2015-12-05.pt',
  url: 'https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt',
  sha256: 'f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4',
  /** More than the file has: whatever else a server sends is cut off there. */
  mostBytes: 2 ** 28,
  licence: 'Apache License 2.0, by Google; NVIDIA distributes the file with stylegan2-ada-pytorch',
}
