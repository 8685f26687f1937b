#include "models/factory.h"

#include <algorithm>
#include <iterator>
#include <string_view>

#include "core/error.h"
#include "models/edgetam/edgetam.h"
#include "models/mobile_sam/mobile_sam.h"
#include "models/owlv2/owlv2.h"
#include "models/sam/sam.h"
#include "models/sam2/sam2.h"
#include "weights/config.h"
#include "weights/store.h"

namespace segrid {
namespace {

// The loaders of a segmentation family: with the CPU's kernels, and with its plain definitions.
struct Family {
    std::string_view type;
    std::unique_ptr<SegmentationModel> (*kernels)(const Config&, WeightStore&, Precisions);
    std::unique_ptr<SegmentationModel> (*plain)(const Config&, WeightStore&, Placement);
};
constexpr Family kFamilies[] = {{"sam", sam::load, sam::load_plain},
                                {"mobile_sam", mobile_sam::load, mobile_sam::load_plain},
                                {"sam2", sam2::load, sam2::load_plain},
                                {"sam2_video", sam2::load, sam2::load_plain},
                                {"edgetam", edgetam::load, edgetam::load_plain},
                                {"edgetam_video", edgetam::load, edgetam::load_plain}};

bool detects(const std::string& type) { return type == "owlv2" || type == "owlvit"; }

}  // namespace

FromFiles<SegmentationModel> load_segmentation_model(const std::string& config_path,
                                                     const std::string& weights_path,
                                                     const Execution& execution) {
    const Config config = Config::read(config_path);
    const std::string type = config.text("model_type", "");
    const auto family = std::find_if(std::begin(kFamilies), std::end(kFamilies),
                                     [&](const Family& f) { return f.type == type; });
    if (family == std::end(kFamilies)) {
        fail(ErrorKind::Unsupported,
             config_path + ": model_type '" + type +
                 "' is not a segmentation model of this build; it knows: sam, mobile_sam, sam2, "
                 "sam2_video, edgetam, edgetam_video" +
                 (detects(type) ? " (segrid.Detector loads this one)" : ""));
    }
    WeightStore store(SafeTensors::read(weights_path));
    auto model = execution.plain ? family->plain(config, store, *execution.plain)
                                 : family->kernels(config, store, execution.precisions);
    return {std::move(model), store.quantised()};
}

FromFiles<DetectionModel> load_detection_model(const std::string& config_path,
                                               const std::string& weights_path,
                                               const Execution& execution) {
    const Config config = Config::read(config_path);
    const std::string type = config.text("model_type", "");
    if (!detects(type))
        fail(ErrorKind::Unsupported,
             config_path + ": model_type '" + type +
                 "' is not a detector of this build; it knows: owlv2, owlvit");
    WeightStore store(SafeTensors::read(weights_path));
    auto model = owlv2::load(config, store, execution);
    return {std::move(model), store.quantised()};
}

}  // namespace segrid
