#include "models/factory.h"

#include "core/error.h"
#include "models/mobile_sam/mobile_sam.h"
#include "models/owlv2/owlv2.h"
#include "models/sam/sam.h"
#include "models/sam2/sam2.h"
#include "weights/config.h"
#include "weights/store.h"

namespace segrid {
namespace {

bool detects(const std::string& type) { return type == "owlv2" || type == "owlvit"; }

}  // namespace

FromFiles<SegmentationModel> load_segmentation_model(const std::string& config_path, const std::string& weights_path,
                                    Precisions precisions) {
    const Config config = Config::read(config_path);
    const std::string type = config.text("model_type", "");
    const auto load = type == "sam" ? sam::load : type == "mobile_sam" ? mobile_sam::load : type == "sam2" || type == "sam2_video" ? sam2::load : nullptr;
    if (load == nullptr) {
        fail(ErrorKind::Unsupported, config_path + ": model_type '" + type + "' is not a segmentation model of this build; it knows: sam, mobile_sam, sam2, sam2_video" +
                                         (detects(type) ? " (segrid.Detector loads this one)" : ""));
    }
    WeightStore store(SafeTensors::read(weights_path));
    auto model = load(config, store, precisions);
    return {std::move(model), store.quantised()};
}

FromFiles<DetectionModel> load_detection_model(const std::string& config_path, const std::string& weights_path, Precisions precisions) {
    const Config config = Config::read(config_path);
    const std::string type = config.text("model_type", "");
    if (!detects(type)) fail(ErrorKind::Unsupported, config_path + ": model_type '" + type + "' is not a detector of this build; it knows: owlv2, owlvit");
    WeightStore store(SafeTensors::read(weights_path));
    auto model = owlv2::load(config, store, precisions);
    return {std::move(model), store.quantised()};
}

}  // namespace segrid
