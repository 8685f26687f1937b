// Whether weights in int8 are made narrow (Int8Panel::narrow).
#pragma once

namespace segrid {

// Whether this CPU has AVX2 and no VNNI: then it multiplies bytes fastest if panels are narrow.
bool narrow_is_faster();

}  // namespace segrid
