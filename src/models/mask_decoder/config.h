// The parts of a config.json that the SAM families share: mask_decoder_config and
// prompt_encoder_config, as transformers writes them.
#pragma once

#include "models/mask_decoder/mask_decoder.h"
#include "models/mask_decoder/prompt_encoder.h"
#include "weights/config.h"

namespace segrid::mask_decoder {

// Throw Corrupt naming the key when a value is outside its plausible range or two contradict each
// other.
DecoderShape read_decoder(const Config& config);
// side: of the model's square in pixels; grid: image tokens along it; dim: their channels.
PromptShape read_prompt(const Config& config, int64_t side, int64_t grid, int64_t dim);

// value must be from low to high; Corrupt naming the key otherwise.
void within(const Config& config, const char* key, int64_t value, int64_t low, int64_t high);
[[noreturn]] void contradiction(const Config& config, const std::string& what);

}  // namespace segrid::mask_decoder
