#include "core/error.h"
#include "masks/regions.h"

namespace segrid {

bool remove_small_regions(uint8_t*, Size, int64_t, Region) {
    fail(ErrorKind::Unsupported, "min_mask_region_area: this build has no OpenCV (connected components); leave it at 0");
}

MaskSet postprocess_small_regions(const MaskSet&, int64_t, double, const Schedule&) {
    fail(ErrorKind::Unsupported, "min_mask_region_area: this build has no OpenCV (connected components); leave it at 0");
}

}  // namespace segrid
