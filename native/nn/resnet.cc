#include "nn/resnet.h"

namespace continual {

ResnetBlock::ResnetBlock(ParameterLayout& layout, const std::string& name, const ResnetShape& s, const UNetConfig& c)
    : norm1(layout, name + ".norm1", s.in, s.groupsIn, c.normEps),
      conv1(layout, name + ".conv1", s.in, s.out, 3),
      timeProjection(layout, name + ".time_emb_proj", c.timeChannels(), c.timeScalesAndShifts ? 2 * s.out : s.out),
      norm2(layout, name + ".norm2", s.out, s.groupsOut, c.normEps),
      conv2(layout, name + ".conv2", s.out, s.out, 3),
      activation(c.activation),
      scalesAndShifts(c.timeScalesAndShifts),
      resampling(s.resampling),
      divisor(s.divisor) {
  if (s.in != s.out || s.alwaysProjects) shortcut.emplace(layout, name + ".conv_shortcut", s.in, s.out, 1);
}

ResnetBlock::ResnetBlock(ParameterLayout& layout, const std::string& name, int64_t in, int64_t out, const UNetConfig& c,
                         Resampling resampling, double divisor)
    : ResnetBlock(layout, name, {in, out, c.groupsOf(in), c.groupsOf(out), divisor, resampling}, c) {}

at::Tensor ResnetBlock::operator()(const Weights& w, const Joined& x, const Condition& condition) const {
  at::Tensor h = norm1.activated(w, x, activation);
  Joined input = x;
  if (resampling != Resampling::none) {
    h = resampled(h, resampling);
    input = resampled(x.whole(), resampling);
  }
  const at::Tensor time = timeProjection(w, condition.activated);
  if (scalesAndShifts) {
    h = activated(scaledAndShifted(norm2(w, conv1(w, h)), time), activation);
  } else if (activation == Activation::silu) {
    h = convolutionNormSilu(w, conv1, norm2, h, time);
  } else {
    h = norm2.activated(w, conv1(w, h, {.perImage = time}), activation);
  }
  h = condition.dropout(h, conv2.weight);
  const at::Tensor sum = conv2(w, h, {.image = shortcut ? (*shortcut)(w, input) : input.whole()});
  return divisor == 1 ? sum : sum / divisor;
}

}  // namespace continual
