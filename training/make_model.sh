# DATA RUN MINUTES [INIT]: trains, sharpens, exports, evaluates, draws. The finished folders are RUN/tiny and RUN/tiny-video.
set -e
data=$1 run=$2 minutes=$3 init=$4
half=$(python -c 'import sys; m = float(sys.argv[1]); assert m > 0; print(m / 2)' "$minutes" 2> /dev/null) || {
  echo "make_model.sh: MINUTES needs a number above 0, got '$minutes'" >&2
  exit 2
}
mkdir -p "$run"
if [ -n "$init" ]; then
  python -m training.train "$run" --data "$data" --minutes "$minutes" --check-minutes 20 --init "$init"
else
  python -m training.train "$run" --data "$data" --minutes "$minutes" --check-minutes 20 --config python/segrid/models/tiny/config.json --muon-rate 2e-3 --adam-rate 1e-3
fi
scale=$(python -m training.calibrate "$run/ema.safetensors" --config "$run/config.json" --data "$data")
export_model() { python -m training.export "$run/ema.safetensors" "$run/tiny" --config "$run/config.json" --logit-scale "$scale" "$@"; }
export_model
python -m training.evaluate "$run/tiny" --data "$data" --out "$run/figures.json"
if [ -n "$init" ]; then
  python -m training.evaluate "$init" --data "$data" --out "$run/before.json"
  export_model --figures "$run/figures.json" --before "$run/before.json" --run "$run"
else
  export_model --figures "$run/figures.json" --run "$run"
fi
python -m training.price "$run/tiny" --data "$data" --write
python -m training.pictures "$run/tiny" --data "$data" --out "$run/tiny/kept_out.jpg"
python -m training.curve "$run"
# tiny-video begins with the decoder of this tiny, and learns most on frames of fewer pixels, which cost less.
python -m training.video.pseudo "$data" "$run/pseudo"
python -m training.video.train "$run/video-256" --data "$data" --pseudo "$run/pseudo" --minutes "$minutes" --tiny "$run/tiny" --side 256
python -m training.video.train "$run/video" --data "$data" --pseudo "$run/pseudo" --minutes "$half" --init "$run/video-256/ema.safetensors" --muon-rate 8e-4 --adam-rate 4e-4
python -m training.video.export "$run/video" "$run/tiny-video" --data "$data" --tiny "$run/tiny" --after "$run/video-256"
python -m training.video.pictures "$run/tiny-video" --data "$data" --out "$run/tiny-video/kept_out.jpg"
