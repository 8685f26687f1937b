// What the large matrix products run in. Everything between them is fp32.
#pragma once

namespace segrid {

enum class Precision { Fp32, Bf16 };

}  // namespace segrid
